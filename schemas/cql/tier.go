package cql

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

const dayMS = 24 * 3600 * 1000

// Tier is one window length, and how long its rows are kept.
type Tier struct {
	SizeMS int64         // length of a window, ms
	TTL    time.Duration // counted from the window's end; whole seconds
}

// Table is the name of the tier's table, without the keyspace: metrics_10s.
func (t Tier) Table() string { return "metrics_" + schemas.TierName(t.SizeMS) }

// ExpiresMS is when a window that starts at startMS expires, ms.
func (t Tier) ExpiresMS(startMS int64) int64 { return startMS + t.SizeMS + t.TTL.Milliseconds() }

// OldestMS is the earliest start of a window that is still kept at nowMS; both ms.
func (t Tier) OldestMS(nowMS int64) int64 { return nowMS - t.TTL.Milliseconds() - t.SizeMS + 1 }

// BucketMS is the span of event time that one partition holds, ms: a day for windows up to 10s, a
// week up to 1m, otherwise a quarter of 91 days, all counted from the Unix epoch. A series has
// 8,640, 10,080 and 2,184 rows in a full bucket of 10s, 1m and 1h: few enough for a group of 100
// series to stay below about 50 MB.
func (t Tier) BucketMS() int64 {
	switch {
	case t.SizeMS <= 10_000:
		return dayMS
	case t.SizeMS <= 60_000:
		return 7 * dayMS
	default:
		return 91 * dayMS
	}
}

// Bucket is the number of the bucket to which a window that starts at startMS (ms) belongs.
func (t Tier) Bucket(startMS int64) int32 {
	b := startMS / t.BucketMS()
	if startMS%t.BucketMS() < 0 {
		b--
	}
	return int32(b)
}

// compactionWindow is the time window of TimeWindowCompactionStrategy: the shortest
// of a row of round lengths of which the TTL has at most 30. ScyllaDB refuses more
// than 50, and each costs an SSTable that every read may have to open.
func (t Tier) compactionWindow() (unit string, size int) {
	for _, hours := range []int{1, 2, 3, 6, 12} {
		if t.TTL <= 30*time.Duration(hours)*time.Hour {
			return "HOURS", hours
		}
	}
	days := 1
	for _, days = range []int{1, 2, 7, 14, 30, 90, 365} {
		if t.TTL <= 30*time.Duration(days)*24*time.Hour {
			break
		}
	}
	return "DAYS", days
}

// MaxTTL is the longest life of a row that Cassandra takes: 20 years.
const MaxTTL = 630_720_000 * time.Second

// indexSlack is how much longer than the longest tier the rows about series live:
// they are renewed daily, so that they never go before the last of their windows.
const indexSlack = 2 * 24 * time.Hour

// SeriesTTL is for how long the rows about a series are kept after they were
// last written.
func SeriesTTL(tiers []Tier) time.Duration {
	var longest time.Duration
	for _, t := range tiers {
		longest = max(longest, t.TTL)
	}
	return longest + indexSlack
}

// CheckTiers returns nil, or an error that names the first tier that no table can
// be made for: a size below 1 ms, a TTL that is not of whole seconds within
// [1s, 20 years], two tiers of one size.
func CheckTiers(tiers []Tier) error {
	seen := map[int64]bool{}
	for _, t := range tiers {
		name := schemas.TierName(t.SizeMS)
		switch {
		case t.SizeMS < 1:
			return fmt.Errorf("tier of %d ms: must be at least 1 ms", t.SizeMS)
		case t.TTL < time.Second || t.TTL > MaxTTL-indexSlack:
			return fmt.Errorf("tier %s: ttl %v: must be at least 1s and at most %v", name, t.TTL, MaxTTL-indexSlack)
		case t.TTL%time.Second != 0:
			return fmt.Errorf("tier %s: ttl %v: must be whole seconds", name, t.TTL)
		case seen[t.SizeMS]:
			return fmt.Errorf("tier %s: given twice", name)
		}
		seen[t.SizeMS] = true
	}
	return nil
}
