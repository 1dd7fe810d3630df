package generations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
)

const (
	// maxBytes is the longest record that is decoded, bytes: ten times the size of a list of the
	// most generations that there may be.
	maxBytes = 1 << 20
	// maxAhead is how far after its record a generation may begin.
	maxAhead = 366 * 24 * time.Hour
	// quiet is how long nothing must come before what is missing is taken to be gone, as the end of
	// a compacted topic may be.
	quiet = 5 * time.Second
)

// ErrNewer is wrapped if the newest record was written by a later version of weir: whoever cannot
// read the plan must not act.
var ErrNewer = errors.New("written by a later version of weir")

// end returns the offset up to which the partition can be read, without open transactions. A
// missing topic has no record.
func end(ctx context.Context, adm *kadm.Client, topic string) (int64, error) {
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	o, ok := ends.Lookup(topic, 0)
	if !ok || errors.Is(o.Err, kerr.UnknownTopicOrPartition) {
		return 0, nil
	}
	return o.Offset, o.Err
}

// readTo reads from next up to an offset, including markers of transactions, and returns the next
// offset. It does not wait for an end that compaction removed.
func readTo(ctx context.Context, client *consume.Client, next, to int64, each func(*kgo.Record)) (int64, error) {
	heard := time.Now()
	for next < to {
		short, cancel := context.WithTimeout(ctx, quiet/5)
		fetches := client.PollFetches(short)
		cancel()
		for _, e := range fetches.Errors() {
			if ctx.Err() != nil || !errors.Is(e.Err, context.DeadlineExceeded) {
				return next, e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next, heard = r.Offset+1, time.Now()
			if !r.Attrs.IsControl() {
				each(r)
			}
		})
		if time.Since(heard) > quiet {
			return to, nil
		}
	}
	return next, nil
}

// decode reads a record of the generations. The error wraps ErrNewer, or tells why the record is
// refused.
func decode(r *kgo.Record) (*schemas.Generations, error) {
	switch {
	case consume.SkippedBatch(r) != nil:
		return nil, errors.New(string(r.Value))
	case string(r.Key) != recordKey:
		return nil, fmt.Errorf("key %.40q: %w", r.Key, schemas.ErrCorrupt)
	case len(r.Value) == 0:
		return nil, fmt.Errorf("no value: %w", schemas.ErrCorrupt)
	case len(r.Value) > maxBytes:
		return nil, fmt.Errorf("%d bytes, at most %d: %w", len(r.Value), maxBytes, schemas.ErrCorrupt)
	}
	g, err := schemas.DecodeDoc[schemas.Generations](r.Value)
	if errors.Is(err, schemas.ErrVersion) && newer(r.Value) {
		return nil, fmt.Errorf("version %d: %w", r.Value[0], ErrNewer)
	}
	if err == nil {
		err = g.Validate()
	}
	if err != nil {
		return nil, err
	}
	if from := g.Newest().FromMS; len(g.List) > 1 && from > r.Timestamp.Add(maxAhead).UnixMilli() {
		return nil, fmt.Errorf("generation %d begins %d ms after its record: %w", g.Newest().Gen, from-r.Timestamp.UnixMilli(), schemas.ErrCorrupt)
	}
	return g, nil
}

// newer distinguishes a record of a later version of weir from rubbish: its version is a small
// number, or a document follows.
func newer(b []byte) bool {
	const small = 0x10
	return b[0] > 1 && (b[0] < small || json.Valid(bytes.TrimSpace(b[1:])))
}
