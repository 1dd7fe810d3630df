package formats

import (
	"fmt"

	"github.com/weir-metrics/weir/schemas"
)

// labelSet is the labels of a series, and the total length of their names and values, bytes.
type labelSet struct {
	labels schemas.Labels
	bytes  int
}

// tags collects the tags of a series. After its first fault it keeps no more, so that a set of a
// million tags costs no more than reading it.
type tags struct {
	d      *Decoder
	list   schemas.Labels
	bytes  int
	fault  error
	reason Reason
}

// newTags returns the decoder's collector, empty.
func (d *Decoder) newTags() *tags {
	d.tags = tags{d: d, list: d.tags.list[:0]}
	return &d.tags
}

// refuse records a fault. The first one is kept.
func (t *tags) refuse(r Reason, why func() error) {
	if t.fault != nil {
		return
	}
	t.reason = r
	if t.d.terse() {
		t.fault = errTerse
	} else {
		t.fault = why()
	}
}

// add adds a tag.
func (t *tags) add(name, value string) {
	c := &t.d.config
	t.bytes += len(name) + len(value)
	switch {
	case t.fault != nil:
	case name == "":
		t.refuse(EmptyName, func() error { return fmt.Errorf("name of a tag: %w", schemas.ErrEmptyName) })
	case len(name) > c.MaxLabelName:
		t.refuse(TooLong, func() error { return tooLong("name of tag", []byte(name), len(name), c.MaxLabelName) })
	case len(value) > c.MaxLabelValue:
		t.refuse(TooLong, func() error {
			return tooLong(fmt.Sprintf("value of tag %.40q", name), []byte(value), len(value), c.MaxLabelValue)
		})
	case t.bytes > c.MaxSeries:
		t.refuse(TooLong, func() error { return c.checkSeries(0, t.bytes) })
	default:
		t.list = append(t.list, schemas.Label{Name: name, Value: value})
	}
}

// labels returns the tags as labels in memory of their own: sorted, and without those that have an
// empty value. It sorts the list in place.
func (t *tags) labels() (labelSet, Reason, error) {
	if t.fault != nil {
		return labelSet{}, t.reason, t.fault
	}
	t.list.Sort()
	filled := 0
	for i, l := range t.list {
		if i > 0 && t.list[i-1].Name == l.Name {
			t.refuse(DuplicateLabel, func() error { return fmt.Errorf("tag %.100q: %w", l.Name, schemas.ErrDuplicateLabel) })
			return labelSet{}, t.reason, t.fault
		}
		if l.Value != "" {
			filled++
		}
	}
	if filled == 0 {
		return labelSet{}, "", nil
	}
	set := labelSet{labels: make(schemas.Labels, 0, filled)}
	for _, l := range t.list {
		if l.Value != "" {
			set.labels = append(set.labels, l)
			set.bytes += len(l.Name) + len(l.Value)
		}
	}
	return set, "", nil
}
