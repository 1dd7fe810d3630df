package alerts

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/schemas"
)

// fingerprintBytes is how many of the hash's bytes identify an alert: nobody can find labels for a
// given fingerprint.
const fingerprintBytes = 16

// fingerprint identifies an alert: 32 hex digits of the SHA-256 of the rule's name, the series
// group and the series' labels, each preceded by its length, so that no two alerts hash the same
// bytes. The rule's own labels are left out: names are unique, and a template among the labels must
// not make an alert of each value. The group is included: series without any group label, of two
// metrics, are in two groups with the same labels.
func fingerprint(rule, group string, labels schemas.Labels) string {
	b := make([]byte, 0, 512)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(rule)
	text(group)
	for _, l := range labels {
		text(l.Name)
		text(l.Value)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:fingerprintBytes])
}

// oldFingerprint identified an alert in states of version 1: a hash of 64 bits, for which other
// labels can be found in minutes. What was said under it is ended under it: see outcome.old.
func oldFingerprint(rule string, labels schemas.Labels) string {
	h := xxhash.New()
	_, _ = h.WriteString(rule) // a Digest's writes do not fail
	for _, l := range labels {
		_, _ = h.WriteString("\xff" + l.Name + "\xff" + l.Value)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// fingerprint is the one under which the outcome is said.
func (o *outcome) fingerprint(rule, group string, labels schemas.Labels) string {
	if o.old {
		return oldFingerprint(rule, labels)
	}
	return fingerprint(rule, group, labels)
}
