package schemas

import "fmt"

// Retire is the value of a record of samples, under the key of a series group: series of the group
// will send no more, as somebody has said. Rules forget them.
type Retire struct {
	// Labels are those that the series have, and perhaps others; none: the whole group.
	Labels Labels
}

// retireMark and the version after it distinguish a Retire from a SampleBatch.
const (
	retireMark    = 'R'
	retireVersion = 1
)

// IsRetire reports whether the value of a record of samples is a Retire.
func IsRetire(b []byte) bool { return len(b) > 0 && b[0] == retireMark }

// AppendTo appends the encoded Retire to dst.
func (r *Retire) AppendTo(dst []byte) []byte {
	return appendDict(append(dst, retireMark, retireVersion), r.Labels)
}

// DecodeRetire reads what AppendTo wrote. It returns an error that wraps ErrVersion or ErrCorrupt.
func DecodeRetire(b []byte) (*Retire, error) {
	if len(b) < 2 || !IsRetire(b) {
		return nil, fmt.Errorf("retire of %d bytes: %w", len(b), ErrCorrupt)
	}
	if b[1] != retireVersion {
		return nil, fmt.Errorf("retire: version %d: %w", b[1], ErrVersion)
	}
	labels, err := decodeDict(nil, b[2:])
	if err == nil {
		err = Series{Metric: "x", Labels: labels}.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("retire: %w", err)
	}
	return &Retire{labels}, nil
}

// Of reports whether a series with these labels is meant.
func (r *Retire) Of(labels Labels) bool {
	for _, l := range r.Labels {
		if labels.Get(l.Name) != l.Value {
			return false
		}
	}
	return true
}
