package cql

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata")

const day = 24 * time.Hour

var tiers = []Tier{{10_000, 7 * day}, {60_000, 30 * day}, {3_600_000, 365 * day}}

func TestStatementsGolden(t *testing.T) {
	s := Schema{Keyspace: "weir", Replication: map[string]int{"replication_factor": 1}, Tiers: tiers}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(s.Statements(), ";\n\n") + ";\n"
	const file = "testdata/schema.cql"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant (%s):\n%s", got, file, want)
	}
}

func TestKeyspaceReplicationIsSorted(t *testing.T) {
	s := Schema{Keyspace: "k", Replication: map[string]int{"west": 3, "east": 2}}
	const want = "CREATE KEYSPACE IF NOT EXISTS k WITH replication = {'class': 'NetworkTopologyStrategy', 'east': 2, 'west': 3}"
	if got := s.Statements()[0]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The statements bind exactly the columns of the tables, in the same order.
func TestColumnsAreThoseOfTheTables(t *testing.T) {
	s := Schema{Keyspace: "k", Tiers: tiers[:1]}
	for i, want := range [][]string{TierColumns, SeriesColumns, LabelIndexColumns, LabelValuesColumns} {
		body, _, _ := strings.Cut(s.Statements()[i+1], "PRIMARY KEY")
		_, body, _ = strings.Cut(body, "(\n")
		body = strings.ReplaceAll(body, "frozen<map<text, text>>", "map")
		var got []string
		for column := range strings.SplitSeq(body, ",") {
			if f := strings.Fields(column); len(f) > 0 {
				got = append(got, f[0])
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("table %d:\ngot  %v\nwant %v", i, got, want)
		}
	}
}

func TestCompactionWindowsAtMost50(t *testing.T) {
	for _, c := range []struct {
		ttl  time.Duration
		unit string
		size int
	}{
		{time.Second, "HOURS", 1}, {30 * time.Hour, "HOURS", 1}, {30*time.Hour + time.Second, "HOURS", 2},
		{7 * day, "HOURS", 6}, {15 * day, "HOURS", 12}, {30 * day, "DAYS", 1}, {30*day + time.Second, "DAYS", 2},
		{365 * day, "DAYS", 14}, {5 * 365 * day, "DAYS", 90}, {MaxTTL, "DAYS", 365},
	} {
		unit, size := Tier{SizeMS: 1000, TTL: c.ttl}.compactionWindow()
		if unit != c.unit || size != c.size {
			t.Errorf("ttl %v: %d %s, want %d %s", c.ttl, size, unit, c.size, c.unit)
		}
		span := time.Duration(size) * time.Hour
		if unit == "DAYS" {
			span *= 24
		}
		if c.ttl/span > 50 {
			t.Errorf("ttl %v: %d windows of %v, ScyllaDB takes 50", c.ttl, c.ttl/span, span)
		}
	}
}

func TestBucket(t *testing.T) {
	for _, c := range []struct {
		sizeMS, startMS int64
		want            int32
	}{
		{10_000, 0, 0}, {10_000, dayMS - 10_000, 0}, {10_000, dayMS, 1}, {10_000, -10_000, -1}, {10_000, -dayMS, -1},
		{10_000, -dayMS - 10_000, -2},
		{10_001, 7*dayMS - 1, 0}, {60_000, 7*dayMS - 60_000, 0}, {60_000, 7 * dayMS, 1},
		{60_001, 91*dayMS - 1, 0}, {3_600_000, 91 * dayMS, 1}, {86_400_000, 182 * dayMS, 2},
	} {
		if got := (Tier{SizeMS: c.sizeMS}).Bucket(c.startMS); got != c.want {
			t.Errorf("tier %d ms: bucket of %d is %d, want %d", c.sizeMS, c.startMS, got, c.want)
		}
	}
}

// The oldest start that is kept is the first one that has not expired.
func TestOldestIsTheFirstNotExpired(t *testing.T) {
	const now = 1_700_000_000_000
	for _, tier := range tiers {
		if oldest := tier.OldestMS(now); tier.ExpiresMS(oldest) <= now || tier.ExpiresMS(oldest-1) > now {
			t.Errorf("%s: oldest %d expires at %d, one before at %d, now %d", tier.Table(), oldest,
				tier.ExpiresMS(oldest), tier.ExpiresMS(oldest-1), now)
		}
	}
}

func TestLabelsText(t *testing.T) {
	for _, metric := range []string{"a.b", "a b{", "漢字 🚰"} {
		s := schemas.Series{Metric: metric, Labels: schemas.NewLabels(map[string]string{"x": "1\n", "h": `"q"`})}
		if got, want := LabelsText(s), `{h="\"q\"",x="1\n"}`; got != want {
			t.Errorf("of %s: got %s, want %s", metric, got, want)
		}
		if got := LabelsText(schemas.Series{Metric: metric}); got != "" {
			t.Errorf("of %s without labels: %q, want an empty text", metric, got)
		}
	}
}

func TestCheckNamesTheCulprit(t *testing.T) {
	ok := map[string]int{"dc1": 1}
	for want, s := range map[string]Schema{
		`keyspace ""`:                            {Replication: ok},
		`keyspace "9a"`:                          {Keyspace: "9a", Replication: ok},
		`keyspace "a-b"`:                         {Keyspace: "a-b", Replication: ok},
		`keyspace "a;b"`:                         {Keyspace: "a;b", Replication: ok},
		`keyspace "` + strings.Repeat("k", 49):   {Keyspace: strings.Repeat("k", 49), Replication: ok},
		`replication: must name`:                 {Keyspace: "k"},
		`replication: "dc1": 0`:                  {Keyspace: "k", Replication: map[string]int{"dc1": 0}},
		`replication: "dc1": 101`:                {Keyspace: "k", Replication: map[string]int{"dc1": 101}},
		`data centre "d'c"`:                      {Keyspace: "k", Replication: map[string]int{"d'c": 1}},
		`tier of 0 ms`:                           {Keyspace: "k", Replication: ok, Tiers: []Tier{{0, day}}},
		`tier 10s: ttl 999ms: must be at least`:  {Keyspace: "k", Replication: ok, Tiers: []Tier{{10_000, 999 * time.Millisecond}}},
		`tier 10s: ttl 1.5s: must be whole`:      {Keyspace: "k", Replication: ok, Tiers: []Tier{{10_000, 1500 * time.Millisecond}}},
		`tier 10s: ttl 175200h0m0s: must be at `: {Keyspace: "k", Replication: ok, Tiers: []Tier{{10_000, MaxTTL}}},
		`tier 10s: given twice`:                  {Keyspace: "k", Replication: ok, Tiers: []Tier{{10_000, day}, {10_000, day}}},
	} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, s := range []Schema{
		{Keyspace: "k", Replication: ok, Tiers: []Tier{{1, time.Second}, {2, MaxTTL - indexSlack}}},
		{Keyspace: strings.Repeat("k", 48), Replication: map[string]int{"a": 100}},
	} {
		if err := s.Check(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
