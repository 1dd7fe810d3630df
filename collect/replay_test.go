package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

func recording(t *testing.T, text string, opts formats.Options) *Recording {
	t.Helper()
	r, err := NewRecording("recording", strings.NewReader(text), int64(len(text)), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dumpRecording reads a recording to its end, and writes its samples and faults as text.
func dumpRecording(t *testing.T, r *Recording) string {
	t.Helper()
	var out strings.Builder
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range b.Samples {
			if err := s.Series.Validate(); err != nil {
				t.Error(err)
			}
			fmt.Fprintf(&out, "%s %d %v\n", s.Series, s.TimeMS, s.Value)
		}
		for _, f := range b.Faults {
			fmt.Fprintf(&out, "line %d: %s\n", f.Line, f.Reason)
		}
	}
	if read, total := r.Progress(); read != total {
		t.Errorf("at the end, %d of %d bytes were read", read, total)
	}
	return out.String()
}

func TestRecordingFormats(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"CSV", "series,timestamp_ms,value\ncpu.usage{host=\"a\",cpu=\"0\"},1000,1.5\n\"cpu.usage{host=\"\"a\"\"}\",2000,-2\r\nup,3000,1",
			"cpu.usage{cpu=\"0\",host=\"a\"} 1000 1.5\ncpu.usage{host=\"a\"} 2000 -2\nup 3000 1\n"},
		{"CSV without a header", "up,1,1\nup,2,0\n", "up 1 1\nup 2 0\n"},
		{"NAB", "timestamp,value\n2014-02-14 14:30:00,0.132\n2014-02-14 14:35:00,0.134\n", "given 1392388200000 0.132\ngiven 1392388500000 0.134\n"},
		{"other times", "timestamp,value\n2014-02-14T14:30:00.5Z,1\n7,2\n", "given 1392388200500 1\ngiven 7 2\n"},
		{"bad rows", "series,timestamp_ms,value\nup,1,NaN\nup,1,1e999\nup,x,1\nup,253402300800000,1\n,1,1\na{b,1,1\nrow\nup,2,x\n\nup,9,9\n",
			"up 9 9\nline 2: not_finite\nline 3: not_finite\nline 4: bad_timestamp\nline 5: bad_timestamp\nline 6: empty_name\nline 7: undecodable\nline 8: undecodable\nline 9: undecodable\n"},
		{"JSON lines", "{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n{\"metricName\":\"a\",\"timestamp\":2}\n", "a 1 1\nline 2: missing_field\n"},
		{"JSON array", " [{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}]", "a 1 1\n"},
		{"line protocol", "# c\ncpu,host=a usage=1,n=2 5\nbad\ncpu,host=a usage=3\n", "cpu.usage{host=\"a\"} 5 1\ncpu.n{host=\"a\"} 5 2\ncpu.usage{host=\"a\"} 77 3\nline 3: undecodable\n"},
		{"nothing", "", ""},
		{"only blank lines", "\n \r\n\n", ""},
		{"only comments", "# a\n# b\n", ""},
		{"CSV, its first row bad", "what\nup,1,1\nup,2,2\n", "up 1 1\nup 2 2\nline 1: undecodable\n"},
		{"CSV, its first row a bad value", "up,1,x\nup,1,1\n", "up 1 1\nline 1: undecodable\n"},
		{"CSV of one bad row", "up,1,x\n", "line 1: undecodable\n"},
		{"CSV behind blank lines", "\n\r\nseries,timestamp_ms,value\nup,1,1\n", "up 1 1\n"},
		{"CSV behind comments", "# a, b\n#\nseries,timestamp_ms,value\nup,1,1\n", "up 1 1\n"},
		{"CSV with a mark", "\xef\xbb\xbfseries,timestamp_ms,value\nup,1,1\n", "up 1 1\n"},
		{"CSV with a mark and no header", "\xef\xbb\xbfup,1,1\n", "up 1 1\n"},
		{"CSV of joined files", "\xef\xbb\xbfup,1,1\n\xef\xbb\xbfup,2,2\n\xef\xbb\xbf\"up\",3,3\n\"\xef\xbb\xbfup\",4,4\n\xef\xbb\xbf", "up 1 1\nup 2 2\nup 3 3\nup 4 4\n"},
		{"lines of joined files", "\xef\xbb\xbfcpu v=1 5\n\xef\xbb\xbfcpu v=2 6\n", "cpu.v 5 1\ncpu.v 6 2\n"},
		{"JSON of joined files", "\xef\xbb\xbf{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n\xef\xbb\xbf{\"metricName\":\"a\",\"timestamp\":2,\"value\":1}\n", "a 1 1\na 2 1\n"},
		{"CSV of names in braces", "{\"cpu usage\",\"my host\"=\"a\"},1,1\nup,2,2\n", "{\"cpu usage\",\"my host\"=\"a\"} 1 1\nup 2 2\n"},
		{"CSV with a quoted header", "\"timestamp\",\"value\"\n1,1\n", "given 1 1\n"},
		{"CSV and Go's numbers", "up,1,1_000\nup,1,0x1p4\nup,1,+1\nup,1,inf\nup,+1,1\nup,1_0,1\nup,1,.5\nup,2,5.\n",
			"up 1 0.5\nup 2 5\nline 1: undecodable\nline 2: undecodable\nline 3: undecodable\nline 4: not_finite\nline 5: bad_timestamp\nline 6: bad_timestamp\n"},
		{"line protocol, its first line bad", "bad\ncpu v=1 5\n", "cpu.v 5 1\nline 1: undecodable\n"},
		{"line protocol, its first line blank", "\n  \ncpu v=1 5\n", "cpu.v 5 1\n"},
		{"line protocol that looks like CSV at first", "cpu,1,x\ncpu,h=a v=1 5\ncpu,h=a v=2 6\n", "cpu.v{h=\"a\"} 5 1\ncpu.v{h=\"a\"} 6 2\nline 1: undecodable\n"},
		{"line protocol with a mark", "\xef\xbb\xbfcpu v=1 5\n", "cpu.v 5 1\n"},
		{"line protocol of one bad line", "cpu,h=a v=x 5\n", "line 1: undecodable\n"},
		{"JSON with a mark", "\xef\xbb\xbf{\"metricName\":\"a\",\"timestamp\":1,\"value\":1}\n", "a 1 1\n"},
		{"JSON over many lines", "{\n\"metricName\":\n\"a\",\"timestamp\":1,\n\"value\":1}\n", "a 1 1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recording(t, c.text, formats.Options{Series: "given", Precision: formats.Millisecond, NowMS: 77})
			if got := dumpRecording(t, r); got != c.want {
				t.Errorf("got:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

// TestFormatIsSaid: the format can be given, and the first fault names the format for which the file was taken.
func TestFormatIsSaid(t *testing.T) {
	for _, c := range []struct {
		format *formats.Format
		text   string
		want   string
	}{
		{nil, "what is this\n", "the file is read as line, see --format"},
		{nil, "up,1,1\nwhat\n", "the file is read as csv, see --format"},
		{formats.CSV, "cpu v=1 5\n", "want series,timestamp_ms,value"},
		{formats.Line, "up,1,1\n", "want = after a tag"},
		{formats.JSON, "up,1,1\n", "want a value"},
	} {
		r := recording(t, c.text, formats.Options{Format: c.format})
		b, err := r.Next()
		if err != nil || len(b.Faults) != 1 || !strings.Contains(b.Faults[0].Error(), c.want) ||
			strings.Contains(b.Faults[0].Error(), "--format") != (c.format == nil) {
			t.Errorf("%q as %q: %v %+v, want %q", c.text, c.format, err, b, c.want)
		}
	}
	if _, err := formats.ByName("xml"); err == nil {
		t.Error("xml is a format")
	}
	if _, err := NewRecording("recording", strings.NewReader("\xff\xfea\x00"), 0, formats.Options{}); err == nil || !strings.Contains(err.Error(), "UTF-16") {
		t.Errorf("UTF-16: %v", err)
	}
}

// TestHintOfARecording: times that look like another unit give a hint with a remedy.
func TestHintOfARecording(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"up,1700000000,1\nup,1700000010,1\n", "recording: 2 of 2 times, read as ms: it looks like seconds"},
		{"up,1700000000000,1\n", ""},
		{"up,1000,1\n", ""},
		{"cpu v=1 1700000000\n", "recording: 1 of 1 times, read as ns, see --precision: it looks like seconds"},
		{"cpu v=1 1700000000000000000\n", ""},
		{`{"metricName":"a","timestamp":1700000000,"value":1}`, "recording: 1 of 1 times, read as ms: it looks like seconds"},
	} {
		r := recording(t, c.text, formats.Options{})
		if _, err := r.Next(); err != nil || r.Hint() != c.want {
			t.Errorf("%q: %v %q, want %q", c.text, err, r.Hint(), c.want)
		}
	}
}

func TestOpenRecording(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ec2_cpu.csv")
	if err := os.WriteFile(name, []byte("timestamp,value\n1,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRecording(name, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dumpRecording(t, r), "ec2_cpu 1 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenRecording(name+"x", formats.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := NewRecording("recording", iotest.ErrReader(io.ErrClosedPipe), 0, formats.Options{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// TestLongRecording: in a recording of several parts, lines and faults are counted across the parts.
func TestLongRecording(t *testing.T) {
	const rows = 50_000
	for _, row := range []func(i int) string{
		func(i int) string { return fmt.Sprintf("up,%d,1\n", i) },
		func(i int) string { return fmt.Sprintf("up value=1 %d\n", i) },
	} {
		var text strings.Builder
		for i := range rows {
			text.WriteString(row(i))
		}
		text.WriteString("bad\n")
		r := recording(t, text.String(), formats.Options{Precision: formats.Millisecond})
		n, parts := int64(0), 0
		var faults []formats.Fault
		for {
			b, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			parts++
			for _, s := range b.Samples {
				if s.TimeMS != n {
					t.Fatalf("sample %d has time %d", n, s.TimeMS)
				}
				n++
			}
			faults = append(faults, b.Faults...)
		}
		if n != rows || parts < 2 || len(faults) != 1 || faults[0].Line != rows+1 {
			t.Errorf("%d samples in %d parts, faults %v", n, parts, faults)
		}
	}
	r := recording(t, "a value=1 1\n"+strings.Repeat("x", maxLineBytes+partBytes+1), formats.Options{})
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "line 2:") {
		t.Errorf("a line that is too long: %v", err)
	}
}

// played returns what was published, and when, such as "2s: a@1000=1".
func played(t *testing.T, p Replay, texts ...string) (published []string, state ReplayState, err error) {
	t.Helper()
	start := time.Now()
	var recordings []*Recording
	for _, text := range texts {
		recordings = append(recordings, recording(t, text, formats.Options{}))
	}
	state, err = p.Run(t.Context(), recordings, func(_ context.Context, samples []schemas.Sample) error {
		for _, s := range samples {
			published = append(published, fmt.Sprintf("%s: %s@%d=%v", time.Since(start), s.Series, s.TimeMS, s.Value))
		}
		return nil
	}, func(ReplayState) {})
	return published, state, err
}

func TestReplay(t *testing.T) {
	const a, b = "a,1000,1\na,3000,2\na,2000,3\na,11000,4\n", "b,500,1\nb,3000,2\nbad\n"
	for _, c := range []struct {
		name   string
		replay Replay
		want   []string
	}{
		{"as recorded", Replay{Speed: 1}, []string{"0s: b@500=1", "500ms: a@1000=1", "2.5s: a@3000=2", "2.5s: a@2000=3", "2.5s: b@3000=2", "10.5s: a@11000=4"}},
		{"ten times", Replay{Speed: 10}, []string{"0s: b@500=1", "50ms: a@1000=1", "250ms: a@3000=2", "250ms: a@2000=3", "250ms: b@3000=2", "1.05s: a@11000=4"}},
		{"at once, shifted", Replay{ShiftMS: 100_000}, []string{"0s: b@100500=1", "0s: a@101000=1", "0s: a@103000=2", "0s: a@102000=3", "0s: b@103000=2", "0s: a@111000=4"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			got, state, err := played(t, c.replay, a, b)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %v\n got %q\nwant %q", c.name, err, got, c.want)
			}
			size := int64(len(a) + len(b))
			if first := state.FirstRefused; first == nil || !strings.HasPrefix(first.Error(), "recording: line ") {
				t.Errorf("%s: first refused: %v", c.name, first)
			}
			state.FirstRefused = nil
			if want := (ReplayState{ReadBytes: size, TotalBytes: size, Published: 6, Refused: 1, TimeMS: 11_000 + c.replay.ShiftMS}); state != want {
				t.Errorf("%s: state %+v, want %+v", c.name, state, want)
			}
		})
	}
}

func TestReplayEndsEarly(t *testing.T) {
	broken := errors.New("no broker")
	published := 0
	_, err := Replay{}.Run(t.Context(), []*Recording{recording(t, "a,1,1\n", formats.Options{})},
		func(context.Context, []schemas.Sample) error { return broken }, func(ReplayState) { published++ })
	if !errors.Is(err, broken) || published != 0 {
		t.Errorf("%v, %d times progress", err, published)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		state, err := Replay{Speed: 1}.Run(ctx, []*Recording{recording(t, "a,0,1\na,3600000,1\n", formats.Options{})},
			func(context.Context, []schemas.Sample) error { return nil }, func(ReplayState) {})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute || state.Published != 1 {
			t.Errorf("%v after %s, %d published", err, time.Since(start), state.Published)
		}
	})
}

func TestSpan(t *testing.T) {
	oldest, newest, err := Span(recording(t, "a,5,1\na,3,1\na,9,1\nbad\n", formats.Options{}))
	if err != nil || oldest != 3 || newest != 9 {
		t.Errorf("%d to %d, %v", oldest, newest, err)
	}
	if _, _, err := Span(recording(t, "series,timestamp_ms,value\n", formats.Options{})); !errors.Is(err, ErrNoSamples) {
		t.Errorf("no samples: %v", err)
	}
}

// TestPublishKeepsGroupsInOrder: a group's samples go into records with the same key, in order.
func TestPublishKeepsGroupsInOrder(t *testing.T) {
	b := newBed(t, Default())
	var samples []schemas.Sample
	for i := range 30_000 {
		samples = append(samples, schemas.Sample{TimeMS: int64(i), Value: float64(i),
			Series: schemas.Series{Metric: "m", Labels: schemas.Labels{{Name: "host", Value: fmt.Sprint("web", i%2)}}}})
	}
	if err := b.publish.Publish(t.Context(), samples); err != nil {
		t.Fatal(err)
	}
	newest := map[string]int64{"web0": -1, "web1": -1}
	n := 0
	for _, r := range b.read(4) { // each of the two groups has slightly more than fits into a record
		d := formats.NewDecoder()
		d.ResetBy(header(r, "content-type"), r.Value, 0)
		for e := d.Next(); e != nil; e = d.Next() {
			for _, s := range e.Samples {
				if s.Series.Labels.Get("host") != string(r.Key) || s.TimeMS <= newest[string(r.Key)] {
					t.Fatalf("key %s: %v after %d", r.Key, s, newest[string(r.Key)])
				}
				newest[string(r.Key)] = s.TimeMS
				n++
			}
		}
	}
	if n != len(samples) {
		t.Errorf("%d samples, want %d", n, len(samples))
	}
}

// FuzzRecording: whatever a file contains, the samples that are read are valid, and each line is read once.
func FuzzRecording(f *testing.F) {
	f.Add([]byte("series,timestamp_ms,value\ncpu.usage{host=\"a\",cpu=\"0\"},1000,1.5\n\"a{b=\"\"c\"\"}\",2,NaN"))
	f.Add([]byte("timestamp,value\n2014-02-14 14:30:00,0.132\n2014-02-14T14:30:00Z,1"))
	f.Add([]byte("cpu,host=a usage=1 1\nbad"))
	f.Add([]byte(`[{"metricName":"a","timestamp":1,"value":1}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for line := range strings.Lines(dumpRecording(t, recording(t, string(text), formats.Options{Series: "s"}))) {
			if strings.HasSuffix(line, " NaN\n") || strings.HasSuffix(line, "Inf\n") {
				t.Error(line)
			}
		}
	})
}
