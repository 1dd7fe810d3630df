package route

import (
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/schemas/formats"
)

// Reasons for which route refuses what formats would accept, in addition to formats' own.
const (
	reasonEmpty       = "empty"                // no value: a tombstone
	reasonTooLarge    = "too_large"            // the record is longer than max_record_bytes
	reasonContentType = "unknown_content_type" // neither JSON nor line protocol
	reasonManyLabels  = "too_many_labels"      // a series has more than max_labels
	reasonBatch       = "unreadable_batch"     // a whole batch, on behalf of its records
)

// reasons are all reasons, so that counters start at zero.
func reasons() []string {
	all := []string{reasonEmpty, reasonTooLarge, reasonContentType, reasonManyLabels, reasonBatch}
	for _, r := range formats.Reasons {
		all = append(all, string(r))
	}
	return all
}

// verdict tells why a record was refused, wholly or in part. The zero value means that nothing was
// refused.
type verdict struct {
	reasons []deadletter.Count // by first appearance
	first   string             // exactly what was wrong first
}

// add counts a refusal.
func (v *verdict) add(reason string, err error) {
	if v.first == "" {
		v.first = err.Error()
	}
	for i := range v.reasons {
		if v.reasons[i].Reason == reason {
			v.reasons[i].N++
			return
		}
	}
	v.reasons = append(v.reasons, deadletter.Count{Reason: reason, N: 1})
}

// letter returns the deadletter record of r.
func letter(r *kgo.Record, v *verdict) *kgo.Record {
	return deadletter.OfMany(r, "route", v.reasons, errors.New(v.first))
}

// header returns the value of the record's last header of that name, in any case, or "".
func header(r *kgo.Record, name string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if strings.EqualFold(r.Headers[i].Key, name) {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
