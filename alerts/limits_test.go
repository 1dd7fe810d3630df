package alerts

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

const limitRules = `limits:
- name: disk
  labels: [host, path]
  default: 90
  rows:
  - {host: db01, path: /var, limit: 95}
  - {host: "*", path: /boot, limit: 99}
  - {host: db02, path: "*", limit: 80}
- name: queue
  labels: [queue]
  file: queues.csv
groups:
- name: g
  rules:
  - alert: disk_full
    expr: disk.used_percent > limit("disk", labels.host, labels.path)
    annotations: {s: "{{ .Value }}"}
  - alert: long
    expr: depth > 2 * limit("queue", labels["queue"]) and depth > 0
`

// tablesOf returns a reader of tables that are in memory.
func tablesOf(files map[string]string) LoadConfig {
	return LoadConfig{TiersMS: tiersMS, Table: func(_, path string) (File, error) {
		text, ok := files[path]
		if !ok {
			return File{}, errors.New("no such file")
		}
		return File{"dir/" + path, []byte(text)}, nil
	}}
}

// TestLimits: each label set gets the limit of its row, or of the first matching row with *, or the default; if there is none, it has no limit.
func TestLimits(t *testing.T) {
	cfg := tablesOf(map[string]string{"queues.csv": "queue, limit\n# quiet ones\nmail, 5\n\"a,b\",7.5\n"})
	rs, err := Load(cfg, File{"r.yaml", []byte(limitRules)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		series string
		limit  float64 // 0: none
	}{
		{`disk.used_percent{host="db01",path="/var"}`, 95}, {`disk.used_percent{host="db01",path="/boot"}`, 99}, {`disk.used_percent{host="db02",path="/boot"}`, 99},
		{`disk.used_percent{host="db02",path="/"}`, 80}, {`disk.used_percent{host="web01",path="/"}`, 90}, {`disk.used_percent{host="db01"}`, 90},
		{`depth{queue="mail"}`, 10}, {`depth{queue="a,b"}`, 15}, {`depth{queue="other"}`, 0}, {`depth{host="a"}`, 0},
	} {
		e, st := rs.NewEvaluator(), &State{}
		if out := e.Closed(st, "g", 10_000, 10_000, []schemas.Window{window(t, c.series, 10_000, c.limit)}, nil); len(out) != 0 {
			t.Errorf("%s: fires at its limit: %+v", c.series, out)
		}
		out := e.Closed(st, "g", 10_000, 20_000, []schemas.Window{window(t, c.series, 20_000, c.limit+0.5)}, nil)
		if fires := len(out) == 1 && out[0].True; fires != (c.limit > 0) || fires && out[0].Value != c.limit+0.5 {
			t.Errorf("%s: above %v: %+v", c.series, c.limit, out)
		}
	}
	if m := rs.Metrics(); fmt.Sprint(m) != "[depth disk.used_percent]" {
		t.Error(m)
	}
}

// TestLimitsReload: changed limits apply with the rules, even to a decoded state; rules with other limits have another hash, and a table
// that was cut is refused.
func TestLimitsReload(t *testing.T) {
	text := func(limit string) []byte {
		return []byte("limits:\n- {name: q, labels: [queue], file: q.yaml}\ngroups:\n- name: g\n  rules:\n  - {alert: a, expr: 'depth > limit(\"q\", labels.queue)'}\n")
	}
	load := func(table string) *RuleSet {
		t.Helper()
		rs, err := Load(tablesOf(map[string]string{"q.yaml": table}), File{"r.yaml", text("")})
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	low, high := load("- {queue: mail, limit: 5}\n- {queue: web, limit: 5}\n"), load("- {queue: mail, limit: 50}\n- {queue: web, limit: 5}\n")
	if low.Hash() == high.Hash() {
		t.Error("the hash is the same")
	}
	st := &State{}
	w := func(end int64) []schemas.Window {
		return []schemas.Window{window(t, `depth{queue="mail"}`, end, 20)}
	}
	if out := low.NewEvaluator().Closed(st, "g", 10_000, 10_000, w(10_000), nil); len(out) != 1 || !out[0].True {
		t.Fatalf("%+v", out)
	}
	st, err := DecodeState(st.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if out := high.NewEvaluator().Closed(st, "g", 10_000, 20_000, w(20_000), nil); len(out) != 1 || out[0].True {
		t.Errorf("%+v", out)
	}
	cut := load("- {queue: mail, limit: 5}\n")
	if err := cut.Cut(low); err == nil || !strings.Contains(err.Error(), "dir/q.yaml: looks cut") {
		t.Errorf("cut: %v", err)
	}
}

// TestLimitFaults: each fault of a table, or of its use, has its place.
func TestLimitFaults(t *testing.T) {
	const use = `depth > limit("q", labels.host, labels.queue)`
	table := func(more string) string {
		return "limits:\n- name: q\n  labels: [host, queue]\n" + more
	}
	rows := table("  rows:\n  - {host: a, queue: b, limit: 5}\n")
	for _, c := range []struct{ limits, expr, csv, want string }{
		{rows, use, "", ""},
		{table("  rows: []\n  default: 1\n"), use, "", ""},
		{table("  file: q.csv\n"), use, "host,queue,limit\na,b,5\n", ""},
		{table("  file: q.csv\n"), use, "\ufeffqueue,host,limit\nb,a,5\n", ""},
		{rows, `depth > limit("p", labels.host, labels.queue)`, "", `r.yaml:9:31: groups[0].rules[0].expr: "depth > limit(\"p\", labels.host, labels.queue)": no table of limits is named "p" in this file (did you mean q?)`},
		{"", use, "", `no table of limits is named "q" in this file: limits: has them`},
		{rows, `depth > limit("q", labels.host)`, "", "the table q is by host, queue, got 1 labels"},
		{rows, `depth > limit("q", labels.queue, labels.host)`, "", "the table q is by host, queue, in that order"},
		{rows, `depth > limit("q", labels.server, labels.queue)`, "", ""},
		{rows, `depth > limit("q")`, "", "limit takes a table's name and labels"},
		{rows, `depth > limit(q, labels.host, labels.queue)`, "", "limit takes a table's name and labels"},
		{rows, `depth > limit("q", host, labels.queue)`, "", "must be a label"},
		{rows, `limit("q", labels.host, labels.queue) > 5`, "", "reads no metric"},
		{table("  file: nosuch.csv\n"), use, "", `r.yaml:4: limits[0].file: "nosuch.csv": must be readable: no such file`},
		{table("  file: q.txt\n"), use, "x", `must end in .csv, .yaml or .yml`},
		{table(""), use, "", "r.yaml:2: limits[0]: must have either rows or a file"},
		{table("  default: many\n  rows: []\n"), use, "", `r.yaml:4: limits[0].default: "many": must be a finite number`},
		{table("  rows:\n  - {host: a, limit: 5}\n"), use, "", "r.yaml:5: limits[0].rows[0]: lacks queue; * stands for any"},
		{table("  rows:\n  - {host: a, queue: b}\n"), use, "", "limit must be a finite number"},
		{table("  rows:\n  - {host: a, queue: b, limit: .inf}\n"), use, "", `".inf": limit must be a finite number`},
		{table("  rows:\n  - {host: a, queue: b, limit: 5, team: x}\n"), use, "", "may have only host, queue and limit"},
		{table("  rows:\n  - {host: a, queue: b, limit: 5}\n  - {host: a, queue: b, limit: 6}\n"), use, "", `r.yaml:6: limits[0].rows[1]: "a, b": has a limit already`},
		{"limits:\n- {labels: [a], rows: []}\n", "depth > 1", "", "limits[0].name: must be given"},
		{"limits:\n- {name: q, labels: [], rows: []}\n", "depth > 1", "", "limits[0].labels: must be 1 to 8 names"},
		{"limits:\n- {name: q, labels: [limit], rows: []}\n", "depth > 1", "", "must be the name of a label, not limit"},
		{"limits:\n- {name: q, labels: [a], rows: []}\n- {name: q, labels: [a], rows: []}\n", "depth > 1", "", "limits[1].name: \"q\": names a table twice"},
		{table("  file: q.csv\n"), use, "", "dir/q.csv: is empty or cut: its first line must be host,queue,limit"},
		{table("  file: q.csv\n"), use, "host,queue,limit\n\na,b,5\na,b\n", "dir/q.csv:4: not CSV: wrong number of fields"},
		{table("  file: q.csv\n"), use, "host,queue,limit\n# c\na,b,x\n", `dir/q.csv:3: "x": limit must be a finite number`},
		{table("  file: q.csv\n"), use, "host,limit\na,5\n", "dir/q.csv:2: lacks queue"},
		{table("  file: q.yaml\n"), use, "", "dir/q.yaml: has no rows: the file is empty or cut"},
		{table("  file: q.yaml\n"), use, "- {host: a, queue: b, limit: 5}\n- {host: a, limit: 5}\n", "dir/q.yaml:2: [1]: lacks queue"},
		{table("  file: q.yaml\n"), use, "{", "dir/q.yaml:1: not YAML"},
	} {
		text := c.limits + "groups:\n- name: g\n  rules:\n  - {alert: a, expr: '" + c.expr + "'}\n"
		refused, _ := faultsAndWarnings(tablesOf(map[string]string{"q.csv": c.csv, "q.yaml": c.csv, "q.txt": c.csv}), text)
		if (c.want == "") != (refused == nil) || c.want != "" && (len(refused) != 1 || !strings.Contains(refused.Error(), c.want)) {
			t.Errorf("%s%s:\n%v\nwant %q", c.limits, c.expr, refused, c.want)
		}
	}
	var big strings.Builder
	big.WriteString("host,queue,limit\n")
	for i := range maxLimitRows + 1 {
		fmt.Fprintf(&big, "h%d,q,1\n", i)
	}
	if refused, _ := faultsAndWarnings(tablesOf(map[string]string{"q.csv": big.String()}), table("  file: q.csv\n")+"groups: []\n"); len(refused) != 1 || !strings.Contains(refused.Error(), "at most 100000 rows") {
		t.Errorf("too many rows: %v", refused)
	}
}
