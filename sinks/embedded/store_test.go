package embedded

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// clock is a clock that tests move by hand.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(1_764_000_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) forward(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func open(t *testing.T, dir string, c *clock) *Store {
	t.Helper()
	s, _ := openCounted(t, dir, c)
	return s
}

func openCounted(t *testing.T, dir string, c *clock) (*Store, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := Open(dir, sinktest.Tiers, c.now, reg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, reg
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Store {
		c, reg := newClock(), prometheus.NewRegistry()
		s, err := Open(t.TempDir(), sinktest.Tiers, c.now, reg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return sinktest.Store{TierStore: s, NowMS: c.ms.Load,
			Tick: func() { c.forward(100 * time.Millisecond) }, Registry: reg}
	})
}

func window(metric, host string, tierMS, startMS int64) schemas.Window {
	return schemas.Window{Series: schemas.Series{Metric: metric, Labels: schemas.Labels{{Name: "host", Value: host}}},
		TierMS: tierMS, StartMS: startMS, Aggregate: schemas.Aggregate{Count: 1, Sum: 2, Min: 2, Max: 2, First: 2, Last: 2}}
}

func write(t *testing.T, s *Store, group string, ws ...schemas.Window) {
	t.Helper()
	if err := s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: group, Windows: ws}); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *Store, w schemas.Window) int {
	t.Helper()
	ws, err := s.ReadWindows(t.Context(), w.Series.Labels.Get("host"), w.Series, w.TierMS, 0, 1<<60, 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(ws)
}

// keys counts the keys in the database, expired or not.
func keys(t *testing.T, s *Store) int {
	t.Helper()
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Windows for which WriteWindows has returned survive a crash: the test opens a copy of the directory as it was on the disk,
// without what Close would have added.
func TestAcknowledgedWindowsSurviveACrash(t *testing.T) {
	c := newClock()
	dir, crashed := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	s := open(t, dir, c)
	w := window("m", "a", 10_000, c.ms.Load()-60_000)
	write(t, s, "a", w)
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again := open(t, crashed, c)
	if n := count(t, again, w); n != 1 {
		t.Errorf("%d windows after the crash, want 1", n)
	}
	if infos, err := again.ListSeries(t.Context(), "m", nil, "", 10); err != nil || len(infos) != 1 || infos[0].Source != "a" {
		t.Errorf("series after the crash: %+v, %v", infos, err)
	}
}

func TestReopenKeepsFirstTime(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	start := c.ms.Load() - 60_000
	s := open(t, dir, c)
	write(t, s, "a", window("m", "a", 10_000, start))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, c)
	write(t, s, "a", window("m", "a", 10_000, start+10_000))
	infos, err := s.ListSeries(t.Context(), "m", nil, "", 10)
	if err != nil || len(infos) != 1 || infos[0].FirstMS != start || infos[0].LastMS != start+20_000 {
		t.Errorf("%+v, %v, want %d to %d", infos, err, start, start+20_000)
	}
}

func TestLastTimeIsRenewed(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	for range 200 {
		write(t, s, "a", window("m", "a", 10_000, c.ms.Load()-10_000))
		infos, err := s.ListSeries(t.Context(), "m", nil, "", 10)
		if err != nil || len(infos) != 1 {
			t.Fatalf("%+v, %v", infos, err)
		}
		if behind := c.ms.Load() - infos[0].LastMS; behind > renew.Milliseconds() {
			t.Fatalf("last time is %d ms behind, at most %d", behind, renew.Milliseconds())
		}
		c.forward(time.Minute)
	}
}

// Sweeps free expired buckets and series, and nothing else.
func TestSweepFreesWhatHasExpired(t *testing.T) {
	c := newClock()
	s, reg := openCounted(t, t.TempDir(), c)
	old := window("old", "a", 10_000, c.ms.Load()-10_000)
	long := window("long", "b", 3_600_000, c.ms.Load()-3_600_000)
	write(t, s, "a", old)
	write(t, s, "b", long)
	before := keys(t, s)
	if before != 8 { // two windows, each with its series, its metric and one label
		t.Fatalf("%d keys, want 8", before)
	}
	sweep := func(want int, why string) {
		t.Helper()
		if err := s.Sweep(); err != nil {
			t.Fatal(err)
		}
		if n := keys(t, s); n != want {
			t.Errorf("%s: %d keys, want %d", why, n, want)
		}
	}
	sweep(8, "nothing has expired")
	c.forward(sinktest.Tiers[0].TTL)
	if n := count(t, s, old); n != 0 {
		t.Errorf("%d windows read after their time, want 0", n)
	}
	sweep(8, "the bucket is not over")
	c.forward(24 * time.Hour)
	sweep(7, "the bucket of the 10s window is over")
	if n := count(t, s, long); n != 1 {
		t.Errorf("%d windows of 1h, want 1", n)
	}
	fresh := window("fresh", "c", 10_000, c.ms.Load()+360*24*3_600_000-10_000)
	c.forward(360 * 24 * time.Hour)
	write(t, s, "c", fresh)
	c.forward(6 * 24 * time.Hour)
	if infos, err := s.ListSeries(t.Context(), "", nil, "", 10); err != nil || len(infos) != 1 || infos[0].Series.Metric != "fresh" {
		t.Errorf("series after a year: %+v, %v, want fresh", infos, err)
	}
	sweep(5, "the series old and long are over, the bucket of 1h is not")
	c.forward(91 * 24 * time.Hour)
	sweep(3, "the 10s and the 1h bucket are over")
	if n := sinktest.Counter(t, reg, "weir_embedded_reclaimed_total", "buckets"); n != 3 {
		t.Errorf("%v buckets counted, want 3", n)
	}
}

// A range deletion of whole buckets lets Pebble drop files, which frees the space.
func TestSweepFreesDisk(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	s := open(t, dir, c)
	for i := range 50 {
		ws := make([]schemas.Window, 400)
		for j := range ws {
			ws[j] = window("m", "a", 10_000, c.ms.Load()-int64(400*i+j)*10_000)
			ws[j].Sum = float64(i*j) * 1.37
		}
		write(t, s, "a", ws...)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	full := tables(t, dir)
	c.forward(10 * 24 * time.Hour)
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	kafkatest.Until(t, 10*time.Second, func() error {
		if left := tables(t, dir); left > full/10 {
			return fmt.Errorf("%d bytes of tables after the sweep, were %d", left, full)
		}
		return nil
	})
}

func tables(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sst") {
			return nil // a file may be deleted while we look
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	open(t, dir, c)
	_, err := Open(dir, sinktest.Tiers, c.now, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("second opening: %v, want an error that names %s", err, dir)
	}
	_, err = Open(t.TempDir(), []cql.Tier{{SizeMS: 1000}}, c.now, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "tier 1s: ttl 0s") {
		t.Errorf("tier without ttl: %v", err)
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w := window("m", "a", 10_000, c.ms.Load())
	if err := s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: "a", Windows: []schemas.Window{w}}); err == nil {
		t.Error("write after Close: no error")
	}
	if _, err := s.ReadWindows(t.Context(), "a", w.Series, 10_000, 0, 1<<60, 1); err == nil {
		t.Error("read after Close: no error")
	}
	if _, err := s.ListSeries(t.Context(), "", nil, "", 1); err == nil {
		t.Error("list after Close: no error")
	}
	if err := s.Sweep(); err != nil {
		t.Errorf("sweep after Close: %v", err)
	}
}

func TestKeysSortAsTexts(t *testing.T) {
	texts := []string{"", "\x00", "\x00\x00", "\x00a", "a", "a\x00", "a\x00b", "a\x01", "ab", "b", "é"}
	var enc []string
	for _, s := range texts {
		enc = append(enc, string(appendText(nil, s)))
	}
	if !slices.IsSorted(enc) {
		t.Errorf("not in order: %q", enc)
	}
	for i := range enc {
		for j := range enc {
			if i != j && strings.HasPrefix(enc[i], enc[j]) {
				t.Errorf("%q begins with %q", enc[i], enc[j])
			}
		}
	}
}

func FuzzDecodeRow(f *testing.F) {
	w := window("m", "a", 10_000, 1_764_000_000_000)
	w.Part, w.Revision = -5, 3
	f.Add(appendTail(nil, w.StartMS, w.Part, w.Revision), appendRow(nil, &w))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		got, err := decodeRow(w.Series, w.TierMS, key, value)
		if err != nil {
			return
		}
		if again, err := decodeRow(w.Series, w.TierMS, appendTail(nil, got.StartMS, got.Part, got.Revision), appendRow(nil, &got)); err != nil ||
			again.Count != got.Count || again.FirstOff != got.FirstOff || again.LastOff != got.LastOff || again.Revision != got.Revision {
			t.Errorf("%+v came back as %+v, %v", got, again, err)
		}
	})
}

func FuzzDecodeSeries(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 4, 1, 1, 'a', 1, 'm', 1, 'l', 1, 'v'})
	f.Add([]byte{1, 2, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSeries(b)
		if err != nil {
			return
		}
		again, err := decodeSeries(appendSeries(nil, &s))
		if err != nil || again.Source != s.Source || again.Series.String() != s.Series.String() || again.FirstMS != s.FirstMS || again.LastMS != s.LastMS {
			t.Errorf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
