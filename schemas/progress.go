package schemas

import (
	"fmt"
	"strconv"
)

// Progress is what the route that owns a partition of metrics reports about it twice a second, in
// the topic progress, under the key Key. Encode it with EncodeDoc.
type Progress struct {
	Partition int32  `json:"partition"`
	Epoch     uint64 `json:"epoch"`  // of the topic metrics, as in Origin
	Offset    int64  `json:"offset"` // everything before it is in samples
	End       int64  `json:"end"`    // of the partition, records of open transactions included, when route last looked
	// AgeMS is how long before this was written, in ms, the partition ended at or before Offset:
	// everything that had come by then is in samples. It is Unseen if route has not seen that yet.
	AgeMS int64 `json:"age_ms"`
	// AtMS is the wall clock of the process, ms, when this was written.
	AtMS int64 `json:"at_ms"`
	// Owner names the process for people.
	Owner string `json:"owner,omitempty"`
}

// Unseen is the AgeMS of a partition with which route has not been level yet.
const Unseen = -1

// Key is the partition, as the key of the compacted topic.
func (p *Progress) Key() string { return strconv.Itoa(int(p.Partition)) }

// Validate returns an error that names the first invalid field.
func (p *Progress) Validate() error {
	const maxPartition = 1 << 20
	fault := ""
	switch {
	case p.Partition < 0 || p.Partition > maxPartition:
		fault = "partition " + p.Key()
	case p.Offset < 0 || p.End < 0:
		fault = fmt.Sprintf("offset %d of %d", p.Offset, p.End)
	case p.AgeMS < Unseen || p.AtMS < 0 || p.AtMS > latestMS:
		fault = fmt.Sprintf("age_ms %d at_ms %d", p.AgeMS, p.AtMS)
	}
	if fault != "" {
		return fmt.Errorf("progress of a partition: %s: %w", fault, ErrCorrupt)
	}
	return nil
}

// Late is a partition of metrics that is not being read: windows that get samples from it wait.
type Late struct {
	Partition int32  `json:"partition"`
	LevelMS   int64  `json:"level,omitempty"` // when route was last level with it, ms; 0: not since this process started to look
	Waiting   int64  `json:"waiting"`         // records that route had not handed on when it last said so
	Owner     string `json:"owner,omitempty"` // the process that said so last
}
