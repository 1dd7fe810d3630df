//go:build engines

package endtoend

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/query/webtest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// keyspace is the config's default.
const keyspace = "weir"

// writeFiles writes the files for weir replay, in NAB's format but with the times of the
// scenario.
func (s *scenario) writeFiles(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for _, f := range s.files {
		rows := [][]string{{"timestamp", "value"}}
		for _, sample := range s.samples(t, f) {
			rows = append(rows, []string{
				time.UnixMilli(sample.TimeMS).UTC().Format(nabTime), strconv.FormatFloat(sample.Value, 'g', -1, 64),
			})
		}
		names = append(names, filepath.Join(dir, f.name+".csv"))
		out, err := os.Create(names[len(names)-1])
		if err != nil {
			t.Fatal(err)
		}
		if err := csv.NewWriter(out).WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// checkTables compares the rows of all tables, read with cqlsh, with the oracle: every column,
// no row missing, none too many.
func (s *scenario) checkTables(t *testing.T) error {
	t.Helper()
	cfg := windows.Default()
	for _, tier := range cfg.TiersMS() {
		var got, want []schemas.Window
		for _, w := range enginetest.Windows(t, keyspace, tier) {
			if w.StartMS < s.endMS { // the windows of closeAll are later
				got = append(got, w)
			}
		}
		for _, f := range s.files {
			for _, w := range s.wanted[f.name] {
				if w.TierMS == tier {
					want = append(want, w)
				}
			}
		}
		if err := windowtest.Compare(got, want); err != nil {
			return fmt.Errorf("metrics_%s: %w", schemas.TierName(tier), err)
		}
		t.Logf("metrics_%s: %d windows match the oracle", schemas.TierName(tier), len(want))
	}
	return nil
}

// TestEnginesEndToEnd is TestEndToEnd with weir's binary on Kafka and Cassandra: the files are
// replayed, rows are read back with cqlsh, the mocks receive the alerts, and a browser opens
// the page.
func TestEnginesEndToEnd(t *testing.T) {
	enginetest.Reset(t, keyspace)
	s := newScenario(t)
	weir := enginetest.Run(t, "all", s.config(t, t.TempDir(), 1), "--roles", rolesButAgent)
	weir.Ready(t, time.Minute)
	t.Log(enginetest.Command(t, append([]string{"replay", "--brokers", enginetest.Kafka(t).Addr}, s.writeFiles(t)...)...))
	s.closeAll(t, weir.URL)
	kafkatest.Until(t, time.Minute, func() error { return s.checkAPI(weir.URL) })
	kafkatest.Until(t, time.Minute, s.checkTold)
	if err := s.checkTables(t); err != nil {
		t.Error(err)
	}
	s.checkPage(t, weir.URL)
	weir.Stop(t, 30*time.Second)
	if err := s.checkTold(); err != nil {
		t.Errorf("after the stop: %v", err)
	}
}

const rolesButAgent = "route,window,store,alert,notify,query,gateway"

// checkPage opens the page at the first file's series and checks what it draws.
func (s *scenario) checkPage(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	browser, err := webtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := browser.Close(); err != nil {
			t.Error(err)
		}
	}()
	page, err := browser.Open(ctx, url+"/#series="+s.files[0].name, "light", 1440, 900)
	if err != nil {
		t.Fatal(err)
	}
	view, err := page.AwaitDrawn(ctx, "1m", "1h")
	if err != nil {
		t.Fatalf("%v\n%+v", err, view)
	}
	if view.Selected != s.files[0].name {
		t.Errorf("the page shows %q, want %q", view.Selected, s.files[0].name)
	}
	if view.Series != len(s.files) {
		t.Errorf("the page lists %d series, want %d", view.Series, len(s.files))
	}
	shot := filepath.Join(t.ArtifactDir(), "page.png")
	if err := page.Screenshot(ctx, shot); err != nil {
		t.Fatal(err)
	}
	t.Log("screenshot", shot)
}

// produce sorts samples by time and writes them to the topic metrics as another program would:
// four records a second, without keys, of 50 samples each. If Kafka is down, it waits.
func produce(ctx context.Context, broker string, samples []schemas.Sample) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topics.Metrics))
	if err != nil {
		return err
	}
	defer client.Close()
	slices.SortStableFunc(samples, func(a, b schemas.Sample) int { return cmp.Compare(a.TimeMS, b.TimeMS) })
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for part := range slices.Chunk(samples, 50) {
		if err := client.ProduceSync(ctx, &kgo.Record{Value: encode(part)}).FirstErr(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// TestEnginesKilled sends the files through three processes, over a minute. Meanwhile it kills and
// restarts the processes one at a time, and restarts Kafka and Cassandra. Every row matches the
// oracle, and the receivers were told every alert, in order.
func TestEnginesKilled(t *testing.T) {
	enginetest.Reset(t, keyspace)
	s := newScenario(t)
	config := s.config(t, t.TempDir(), 1)
	var weirs []*enginetest.Weir
	for i := range 3 {
		weirs = append(weirs, enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent))
	}
	for _, w := range weirs {
		w.Ready(t, time.Minute)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	var samples []schemas.Sample
	for _, f := range s.files {
		samples = append(samples, s.samples(t, f)...)
	}
	produced := make(chan error, 1)
	go func() { produced <- produce(t.Context(), enginetest.Kafka(t).Addr, samples) }()
	kills := 0
	for producing := true; producing; {
		select {
		case err := <-produced:
			if err != nil {
				t.Fatal(err)
			}
			producing = false
		case <-time.After(2*time.Second + time.Duration(rnd.IntN(3000))*time.Millisecond):
			w := weirs[rnd.IntN(len(weirs))]
			w.Kill(t)
			w.Start(t)
			kills++
			switch kills {
			case 3:
				enginetest.Kafka(t).Stop(t)
				enginetest.Kafka(t).Start(t)
			case 6:
				enginetest.Cassandra(t).Kill(t)
				enginetest.Cassandra(t).Start(t)
			}
		}
	}
	for _, w := range weirs {
		w.Ready(t, 2*time.Minute)
	}
	s.closeAll(t, weirs[0].URL)
	kafkatest.Until(t, 2*time.Minute, func() error { return s.checkAPI(weirs[0].URL) })
	kafkatest.Until(t, time.Minute, s.checkToldAtLeastOnce)
	if err := s.checkTables(t); err != nil {
		t.Error(err)
	}
	t.Logf("%d processes killed", kills)
	if kills < 6 {
		t.Errorf("%d kills: Kafka and Cassandra were not both restarted", kills)
	}
}

// checkToldAtLeastOnce is checkTold, but the same request may come several times in a row: a
// process may have been killed between a call and its entry in the ledger.
func (s *scenario) checkToldAtLeastOnce() error {
	all, err := s.told()
	if err != nil {
		return err
	}
	for name := range all.paged {
		all.paged[name] = slices.Compact(all.paged[name])
	}
	for name := range all.texted {
		all.texted[name] = slices.Compact(all.texted[name])
	}
	return s.compareTold(all)
}
