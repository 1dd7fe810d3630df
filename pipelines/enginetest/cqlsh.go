package enginetest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// CQL runs statements with cqlsh and returns what it printed. If cqlsh fails, so does the test.
func CQL(t testing.TB, statements string) string {
	t.Helper()
	return cqlsh(t, Cassandra(t).Addr, statements)
}

// cqlsh runs statements on a node, with additional arguments.
func cqlsh(t testing.TB, addr, statements string, args ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(env(t, "WEIR_CQLSH"), append(args, "--request-timeout=60", "--encoding=utf8", host, port, "-e", statements)...)
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cqlsh: %s: %v\n%s", statements, err, tail(string(out), 2000))
	}
	return string(out)
}

var rowCount = regexp.MustCompile(`(?m)^\((\d+) rows\)$`)

// Rows runs a SELECT JSON statement with cqlsh and returns the rows decoded into T.
func Rows[T any](t testing.TB, selectJSON string) []T {
	t.Helper()
	out := CQL(t, selectJSON)
	var rows []T
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var row T
		// cqlsh doubles the backslashes of the text that it prints.
		if err := json.Unmarshal([]byte(strings.ReplaceAll(line, `\\`, `\`)), &row); err != nil {
			t.Fatalf("cqlsh: %s: row %s: %v", selectJSON, line, err)
		}
		rows = append(rows, row)
	}
	if m := rowCount.FindStringSubmatch(out); m == nil || m[1] != fmt.Sprint(len(rows)) {
		t.Fatalf("cqlsh: %s: %d rows read, cqlsh says %v\n%s", selectJSON, len(rows), m, tail(out, 2000))
	}
	return rows
}

// timestamp reads what SELECT JSON prints for a timestamp column.
type timestamp int64

// UnmarshalJSON reads a time like "2026-11-21 10:44:29.000Z" as ms.
func (ts *timestamp) UnmarshalJSON(b []byte) error {
	at, err := time.Parse(`"2006-01-02 15:04:05.000Z"`, string(b))
	*ts = timestamp(at.UnixMilli())
	return err
}

// Windows reads all rows of a tier's table with cqlsh and returns the windows, each merged from its
// parts.
func Windows(t testing.TB, keyspace string, tierMS int64) []schemas.Window {
	t.Helper()
	type row struct {
		Metric, Series             string
		TS                         timestamp
		Part, Count, Revision      int64
		Sum, Min, Max, First, Last float64
		FirstTS                    timestamp `json:"first_ts"`
		LastTS                     timestamp `json:"last_ts"`
	}
	rows := Rows[row](t, fmt.Sprintf("SELECT JSON metric, series, ts, part, count, sum, min, max, first, last, first_ts, last_ts, revision FROM %s.metrics_%s",
		keyspace, schemas.TierName(tierMS)))
	type id struct {
		series string
		ts     timestamp
	}
	merged := map[id]*schemas.Window{}
	parsed := map[string]schemas.Series{}
	var windows []*schemas.Window
	for _, r := range rows {
		name := r.Metric + r.Series
		s, known := parsed[name]
		if !known {
			var err error
			if s, err = schemas.ParseSeries(name); err != nil {
				t.Fatalf("row of metrics_%s: %v", schemas.TierName(tierMS), err)
			}
			parsed[name] = s
		}
		w := &schemas.Window{
			Series: s, TierMS: tierMS, StartMS: int64(r.TS), Part: r.Part, Revision: uint32(r.Revision),
			Aggregate: schemas.Aggregate{Count: uint32(r.Count), Sum: r.Sum, Min: r.Min, Max: r.Max, First: r.First, Last: r.Last,
				FirstOff: uint32(r.FirstTS - r.TS), LastOff: uint32(r.LastTS - r.TS)},
		}
		k := id{name, r.TS}
		if before := merged[k]; before != nil {
			before.MergeParts(w)
			continue
		}
		merged[k] = w
		windows = append(windows, w)
	}
	all := make([]schemas.Window, len(windows))
	for i, w := range windows {
		all[i] = *w
	}
	return all
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
