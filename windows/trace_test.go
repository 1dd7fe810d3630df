package windows

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what the traces print into their files")

// TestTraces runs the files of testdata/*.trace: lines of
//
//	limit NAME=N …                     before the first sample: config fields, for the limits of series and rate
//	add [at=TIME] NAME TIME=VALUE …    one batch of samples of a series of web01, such as a or a{path="/"}; at is its arrival
//	repeat                             the last batch again, same origin
//	resend                             the last batch again, from another partition
//	advance TIME                       the wall clock, read from the log
//	crash                              encode the state and continue from it
//	close                              close everything
//
// each followed by "----" and the windows that it emitted, one per line:
// NAME TIER START count sum min max first last rREVISION [late].
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(files) == 0 {
		t.Fatal("no traces:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".trace"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tr := newTracer(t)
			var out strings.Builder
			for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
				lines := strings.Split(block, "\n")
				n := 0
				for n < len(lines) && lines[n] != "----" {
					out.WriteString(lines[n] + "\n")
					n++
				}
				cmd := lines[n-1]
				if strings.HasPrefix(cmd, "#") {
					out.WriteString("\n")
					continue
				}
				want := ""
				if n < len(lines) {
					want = strings.Join(lines[n+1:], "\n")
				}
				got := strings.Join(tr.run(cmd), "\n")
				if got != want && !*rewrite {
					t.Errorf("%s\n got:\n%s\nwant:\n%s", cmd, got, want)
				}
				out.WriteString("----\n")
				if got != "" {
					out.WriteString(got + "\n")
				}
				out.WriteString("\n")
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type tracer struct {
	t      *testing.T
	sh     *Shard
	g      *Group
	offset int64
	last   []byte
	now    int64
}

const traceEpoch = 1_700_002_800_000 // an hour's start

func newTracer(t *testing.T) *tracer {
	cfg := Default()
	cfg.MaxSeries = 3
	sh := NewShard(&cfg, 0, nil)
	return &tracer{t: t, sh: sh, g: NewGroup(sh), now: traceEpoch}
}

// time reads 12s, 3m4s, 1h.
func (tr *tracer) time(s string) int64 {
	var ms float64
	for s != "" {
		i := strings.IndexAny(s, "hms")
		n, err := strconv.ParseFloat(s[:i], 64)
		if err != nil {
			tr.t.Fatalf("time %q: %v", s, err)
		}
		ms += n * map[byte]float64{'h': 3600_000, 'm': 60_000, 's': 1000}[s[i]]
		s = s[i+1:]
	}
	return traceEpoch + int64(math.Round(ms))
}

func (tr *tracer) run(cmd string) []string {
	f := strings.Fields(cmd)
	var r Result
	switch f[0] {
	case "limit":
		text := "windows: {" + strings.ReplaceAll(strings.Join(f[1:], ", "), "=", ": ") + "}"
		into := struct {
			Windows Config `yaml:"windows"`
		}{Default()}
		d := conf.Parse("trace", []byte(text), &into)
		if into.Windows.Validate("windows", d); d.Err() != nil {
			tr.t.Fatal(d.Err())
		}
		tr.sh = NewShard(&into.Windows, 0, nil)
		tr.g = NewGroup(tr.sh)
	case "add":
		var b schemas.BatchBuilder
		b.Begin(schemas.Origin{Epoch: 1, Offset: tr.offset}, 0)
		var s schemas.Series
		arrival := int64(0)
		for _, a := range f[1:] {
			key, v, ok := strings.Cut(a, "=")
			switch {
			case key == "at":
				arrival = tr.time(v)
			case !ok || strings.Contains(key, "{"):
				var err error
				if s, err = schemas.ParseSeries(a); err != nil {
					tr.t.Fatal(err)
				}
				s.Labels = append(s.Labels, schemas.Label{Name: "host", Value: "web01"})
				s.Labels.Sort()
			default:
				val, err := strconv.ParseFloat(v, 64)
				if err != nil {
					tr.t.Fatal(err)
				}
				ts := tr.time(key)
				tr.now = max(tr.now, ts)
				b.Add(&s, s.Hash(), ts, val)
			}
		}
		if arrival != 0 {
			tr.now = arrival
		}
		tr.last = b.AppendTo(nil)
		tr.apply(&r)
	case "repeat":
		tr.apply(&r)
	case "resend":
		var sb schemas.SampleBatch
		if err := sb.Decode(tr.last); err != nil {
			tr.t.Fatal(err)
		}
		sb.Sections[0].Origin.Partition = 1
		tr.g.Apply(tr.sh, &sb, tr.offset, tr.now, &r)
		tr.offset++
	case "advance":
		tr.now = tr.time(f[1])
		tr.g.Advance(tr.sh, tr.now, &r)
	case "crash":
		g, err := DecodeGroup(tr.sh, tr.g.AppendTo(tr.sh, nil))
		if err != nil {
			tr.t.Fatal(err)
		}
		tr.g = g
	case "close":
		tr.g.CloseAll(tr.sh, tr.now, &r)
	default:
		tr.t.Fatalf("command %q", cmd)
	}
	return tr.print(&r)
}

func (tr *tracer) apply(r *Result) {
	var sb schemas.SampleBatch
	if err := sb.Decode(tr.last); err != nil {
		tr.t.Fatal(err)
	}
	tr.g.Apply(tr.sh, &sb, tr.offset, tr.now, r)
	tr.offset++
}

// traceName is a series' text without its host.
func traceName(s schemas.Series) string {
	s.Labels = slices.DeleteFunc(slices.Clone(s.Labels), func(l schemas.Label) bool { return l.Name == "host" })
	return s.String()
}

func (tr *tracer) print(r *Result) []string {
	var out []string
	for _, v := range r.Values {
		b, err := schemas.DecodeWindowBatch(v)
		if err != nil {
			tr.t.Fatal(err)
		}
		for _, w := range b.Windows {
			line := fmt.Sprintf("%s %s +%s %d %g %g %g %g %g r%d", traceName(w.Series), schemas.TierName(w.TierMS),
				schemas.TierName(max(w.StartMS-traceEpoch, 0)), w.Count, w.Sum, w.Min, w.Max, w.First, w.Last, w.Revision)
			if w.Late() {
				line += " late"
			}
			out = append(out, line)
		}
	}
	for _, x := range r.Refused {
		out = append(out, fmt.Sprintf("refused %s %g: %s", traceName(x.Series), x.Value, x.Reason))
	}
	if r.OverSeries > 0 {
		out = append(out, fmt.Sprintf("%d beyond max_series", r.OverSeries))
	}
	if r.OverMetric > 0 {
		out = append(out, fmt.Sprintf("%d beyond max_series_per_metric", r.OverMetric))
	}
	if r.Replayed > 0 {
		out = append(out, fmt.Sprintf("%d replayed", r.Replayed))
	}
	if r.Duplicates > 0 {
		out = append(out, fmt.Sprintf("%d duplicates", r.Duplicates))
	}
	return out
}
