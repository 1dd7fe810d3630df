package disk

import (
	"maps"
	"slices"
)

// Disk has tables, by partition.
type Disk struct {
	broken error // what its tables return after Break
	tables map[int32]*Table
	undo   []func() // undoes the writes since Sync
}

// New returns an empty Disk, whose tables return broken after Break.
func New(broken error) *Disk { return &Disk{broken: broken, tables: map[int32]*Table{}} }

// Sync makes all writes so far durable.
func (d *Disk) Sync() { d.undo = nil }

// Crash undoes the last n writes since Sync, or all of them.
func (d *Disk) Crash(n int) {
	for ; n > 0 && len(d.undo) > 0; n-- {
		d.undo[len(d.undo)-1]()
		d.undo = d.undo[:len(d.undo)-1]
	}
	d.undo = nil
}

// Break corrupts the files of the disk: whoever has a table of it open gets an error from now on,
// and whoever opens one finds it empty.
func (d *Disk) Break() {
	for _, t := range d.tables {
		t.err = d.broken
	}
	d.tables, d.undo = map[int32]*Table{}, nil
}

// Table opens a partition's table, making it if there is none.
func (d *Disk) Table(partition int32) *Table {
	t := d.tables[partition]
	if t == nil {
		t = &Table{disk: d, values: map[string][]byte{}, offset: -1}
		d.tables[partition] = t
	}
	return t
}

// Table holds values by key, and an offset. All methods return the disk's error after Break.
type Table struct {
	disk   *Disk
	values map[string][]byte
	offset int64
	err    error
}

// Get returns the value of key, or nil if there is none.
func (t *Table) Get(key string) ([]byte, error) { return t.values[key], t.err }

// Set sets the value of key to a copy of value.
func (t *Table) Set(key string, value []byte) error { return t.write(key, slices.Clone(value)) }

// Delete deletes key, if it is there.
func (t *Table) Delete(key string) error { return t.write(key, nil) }

// Each calls f for each key that is there now, ascending, until f returns false.
func (t *Table) Each(f func(key string, value []byte) (more bool)) error {
	if t.err != nil {
		return t.err
	}
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if !f(key, t.values[key]) || t.err != nil {
			break
		}
	}
	return t.err
}

// Offset returns what SaveOffset last saved, -1 at first.
func (t *Table) Offset() int64 { return t.offset }

// SaveOffset saves the offset.
func (t *Table) SaveOffset(offset int64) error {
	if t.err != nil {
		return t.err
	}
	old := t.offset
	t.disk.undo = append(t.disk.undo, func() { t.offset = old })
	t.offset = offset
	return nil
}

func (t *Table) write(key string, v []byte) error {
	if t.err != nil {
		return t.err
	}
	old, had := t.values[key]
	t.disk.undo = append(t.disk.undo, func() {
		delete(t.values, key)
		if had {
			t.values[key] = old
		}
	})
	delete(t.values, key)
	if v != nil {
		t.values[key] = v
	}
	return nil
}
