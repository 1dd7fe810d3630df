package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// The credentials that the mock receivers expect.
const (
	pagerKey    = "0123456789abcdef0123456789abcdef"
	twilioSID   = "ACfedcba9876543210fedcba9876543210"
	twilioToken = "token-of-the-test"
	twilioFrom  = "+15005550006"
	twilioTo    = "+15005550009"
)

// scenario is what the end-to-end tests share, whatever weir runs on: NAB files that end shortly
// before now, rules on them, strict mocks of the receivers, and the wanted results.
type scenario struct {
	files  []nabFile
	shift  map[string]int64 // by file, ms
	wanted map[string][]schemas.Window
	endMS  int64 // no window of the files ends later, ms
	probed int64 // end of the window at which the probe's alert fires, ms; 0: no probe was sent
	pager  *sinktest.PagerDuty
	phone  *sinktest.Twilio
}

// newScenario shifts the files so that their last hour ended at least two minutes ago; the largest
// grace is one minute.
func newScenario(t testing.TB) *scenario {
	t.Helper()
	s := &scenario{
		files: nabFiles, shift: map[string]int64{}, wanted: map[string][]schemas.Window{},
		pager: sinktest.NewPagerDuty(t, pagerKey), phone: sinktest.NewTwilio(t, twilioSID, twilioToken),
	}
	before := time.Now().Add(-2 * time.Minute).UnixMilli()
	s.endMS = before - before%nabHourMS
	cfg := windows.Default()
	for _, f := range s.files {
		s.shift[f.name] = shiftBefore(readNAB(t, f.name, 0), before)
		s.wanted[f.name] = windowtest.Oracle(s.samples(t, f), cfg.TiersMS()...)
	}
	return s
}

func (s *scenario) samples(t testing.TB, f nabFile) []schemas.Sample {
	t.Helper()
	return readNAB(t, f.name, s.shift[f.name])
}

// config writes the rules into dir and returns a config, as YAML, that stores windows and sends
// notifications as old as the files. Only with one partition of metrics are samples applied in the
// order in which they are sent.
func (s *scenario) config(t testing.TB, dir string, partitions int) string {
	t.Helper()
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte(nabRules()), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
metrics_partitions: %d
shards: 4
alert_shards: 1
windows:
  max_age: 60d
  tiers:
  - {size: 10s, grace: 2s, ttl: 60d}
  - {size: 1m, grace: 10s, ttl: 60d}
  - {size: 1h, grace: 1m, ttl: 60d}
rules: [%q]
notify:
  max_age: 60d
  receivers:
  - {name: pager, match: {severity: page}, pagerduty: {routing_key: %q, url: %q}}
  - {name: phone, match: {severity: page}, twilio: {account_sid: %q, auth_token: %q, from: %q, to: [%q], url: %q}}
`, partitions, rules, pagerKey, s.pager.URL, twilioSID, twilioToken, twilioFrom, twilioTo, s.phone.URL)
}

// post sends samples to the gateway at base, in bodies of about size samples. Samples with the same
// time stay together.
func post(t testing.TB, base string, samples []schemas.Sample, size int) {
	t.Helper()
	for len(samples) > 0 {
		n := min(size, len(samples))
		for n < len(samples) && samples[n].TimeMS == samples[n-1].TimeMS {
			n++
		}
		postOne(t, base, samples[:n])
		samples = samples[n:]
	}
}

func postOne(t testing.TB, base string, samples []schemas.Sample) {
	t.Helper()
	resp, err := http.Post(base+"/api/v1/samples", "application/json", bytes.NewReader(encode(samples)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("POST /api/v1/samples: %s: %s", resp.Status, answer)
	}
}

// encode returns samples as JSON, an array of the seed API's objects.
func encode(samples []schemas.Sample) []byte {
	type sample struct {
		Metric string            `json:"metricName"`
		Tags   map[string]string `json:"tags"`
		TimeMS int64             `json:"timestamp"`
		Value  float64           `json:"value"`
	}
	body := make([]sample, len(samples))
	for i, s := range samples {
		body[i] = sample{s.Series.Metric, s.Series.Labels.Map(), s.TimeMS, s.Value}
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // the test's own data has a NaN
	}
	return b
}

// closeAll sends a current sample of each file's series. That moves the watermarks past the end of
// every window of the files, without waiting for ticks.
func (s *scenario) closeAll(t testing.TB, base string) {
	t.Helper()
	now := time.Now().UnixMilli()
	for _, f := range s.files {
		postOne(t, base, []schemas.Sample{{Series: nabSeries(f.name), TimeMS: now, Value: 0}})
	}
}

// probe sends a sample on which a rule fires, after all others: once the receivers are told of its alert,
// weir has finished whatever it repeated after a restart.
func (s *scenario) probe(t testing.TB, base string) {
	t.Helper()
	now := time.Now().UnixMilli()
	start := now - now%10_000 - 20_000
	series := schemas.Series{Metric: "probe"}
	postOne(t, base, []schemas.Sample{{Series: series, TimeMS: start, Value: 1}, {Series: series, TimeMS: now, Value: 1}})
	s.probed = start + 10_000
}

// apiWindows reads the windows of a series and tier from GET /api/v1/windows.
func apiWindows(base string, series schemas.Series, tierMS, fromMS, toMS int64) ([]schemas.Window, error) {
	q := url.Values{
		"series": {series.String()}, "tier": {schemas.TierName(tierMS)}, "limit": {"10000"},
		"from": {fmt.Sprint(fromMS)}, "to": {fmt.Sprint(toMS)},
	}
	var answer []struct {
		StartMS                    int64 `json:"start"`
		Count                      int64
		Sum, Min, Max, First, Last float64
	}
	if err := getJSON(base+"/api/v1/windows?"+q.Encode(), &answer); err != nil {
		return nil, err
	}
	var ws []schemas.Window
	for _, a := range answer {
		ws = append(ws, schemas.Window{
			Series: series, TierMS: tierMS, StartMS: a.StartMS,
			Aggregate: schemas.Aggregate{Count: uint32(a.Count), Sum: a.Sum, Min: a.Min, Max: a.Max, First: a.First, Last: a.Last},
		})
	}
	return ws, nil
}

// fileWindows reads the windows of a file, of all tiers, from the API.
func (s *scenario) fileWindows(base string, f nabFile) ([]schemas.Window, error) {
	var all []schemas.Window
	for _, w := range slices.CompactFunc(slices.Clone(s.wanted[f.name]), func(a, b schemas.Window) bool { return a.TierMS == b.TierMS }) {
		ws, err := apiWindows(base, nabSeries(f.name), w.TierMS, w.StartMS, s.endMS)
		if err != nil {
			return nil, err
		}
		all = append(all, ws...)
	}
	return all, nil
}

// checkAPI compares the API's windows of all files with the oracle, except for the times of first and
// last, which the API does not return.
func (s *scenario) checkAPI(base string) error {
	for _, f := range s.files {
		got, err := s.fileWindows(base, f)
		if err != nil {
			return err
		}
		want := slices.Clone(s.wanted[f.name])
		for i := range want {
			want[i].FirstOff, want[i].LastOff = 0, 0
		}
		if err := windowtest.Compare(got, want); err != nil {
			return err
		}
	}
	return nil
}

// changes returns all changes that the receivers must be told, in order, by the alert's name.
func (s *scenario) changes() map[string][]change {
	all := map[string][]change{}
	for _, f := range s.files {
		all["high_"+f.name] = changes(s.wanted[f.name], f.threshold)
	}
	if s.probed != 0 {
		all["probe"] = []change{{schemas.Firing, s.probed}}
	}
	return all
}

// told holds what the receivers were told, in order, by the alert's name.
type told struct {
	paged  map[string][]change
	texted map[string][]string // "FIRING at 2026-11-21 10:00:00 UTC"
}

// told reads the mocks. It returns an error if they object to a request, or if an alert has two
// dedup_keys.
func (s *scenario) told() (told, error) {
	all := told{map[string][]change{}, map[string][]string{}}
	if v := slices.Concat(s.pager.Violations(), s.phone.Violations()); len(v) > 0 {
		return all, fmt.Errorf("the receivers object: %v", v)
	}
	keys := map[string]string{}
	for _, e := range s.pager.Events() {
		name := e.Payload.Class
		at, err := time.Parse(time.RFC3339Nano, e.Payload.Timestamp)
		if err != nil {
			return all, fmt.Errorf("PagerDuty: %s: %w", name, err)
		}
		to := map[string]schemas.AlertState{"trigger": schemas.Firing, "resolve": schemas.Resolved}[e.Action]
		all.paged[name] = append(all.paged[name], change{to, at.UnixMilli()})
		if key, known := keys[name]; known && key != e.DedupKey {
			return all, fmt.Errorf("PagerDuty: %s has the dedup_keys %s and %s", name, key, e.DedupKey)
		}
		keys[name] = e.DedupKey
	}
	for _, m := range s.phone.Messages() {
		if m.From != twilioFrom || m.To != twilioTo {
			return all, fmt.Errorf("Twilio: a message from %s to %s", m.From, m.To)
		}
		head, _, _ := strings.Cut(m.Body, ":")
		state, name, _ := strings.Cut(head, " ")
		_, at, _ := strings.Cut(m.Body, "\nvalue ")
		_, at, _ = strings.Cut(at, map[string]string{"FIRING": " at ", "RESOLVED": " until "}[state])
		at, _, _ = strings.Cut(at, "\n")
		all.texted[name] = append(all.texted[name], state+" at "+at)
	}
	return all, nil
}

// checkTold compares what the mocks were told with the changes: each change once, in order, with one
// dedup_key per alert, and no request to which a mock objects.
func (s *scenario) checkTold() error {
	all, err := s.told()
	if err != nil {
		return err
	}
	return s.compareTold(all)
}

func (s *scenario) compareTold(all told) error {
	for name, changes := range s.changes() {
		if !slices.Equal(all.paged[name], changes) {
			return fmt.Errorf("PagerDuty was told about %s: %v, want %v", name, all.paged[name], changes)
		}
		var texts []string
		for _, c := range changes {
			texts = append(texts, strings.ToUpper(string(c.to))+" at "+time.UnixMilli(c.atMS).UTC().Format("2006-01-02 15:04:05 UTC"))
		}
		if !slices.Equal(all.texted[name], texts) {
			return fmt.Errorf("Twilio was told about %s: %q, want %q", name, all.texted[name], texts)
		}
		delete(all.paged, name)
		delete(all.texted, name)
	}
	if len(all.paged)+len(all.texted) > 0 {
		return fmt.Errorf("told about unexpected alerts: %v", all)
	}
	return nil
}

// getJSON gets an address of the API and decodes the answer.
func getJSON(address string, into any) error {
	resp, err := http.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s %.500s %v", address, resp.Status, body, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w: %.500s", address, err, body)
	}
	return nil
}
