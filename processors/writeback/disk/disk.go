package disk

import (
	"maps"
	"slices"
	"sync"
)

// Disk has tables, by partition. It is safe for concurrent use, as its tables are: a partition that
// was given up may still be using one.
type Disk struct {
	mu     sync.Mutex
	broken error // what its tables return after Break
	tables map[int32]*Table
	undo   []func() // undoes the writes since Sync
}

// New returns an empty Disk, whose tables return broken after Break.
func New(broken error) *Disk { return &Disk{broken: broken, tables: map[int32]*Table{}} }

// Sync makes all writes so far durable.
func (d *Disk) Sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.undo = nil
}

// Crash undoes the last n writes since Sync, or all of them.
func (d *Disk) Crash(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; n > 0 && len(d.undo) > 0; n-- {
		d.undo[len(d.undo)-1]()
		d.undo = d.undo[:len(d.undo)-1]
	}
	d.undo = nil
}

// Break corrupts the files of the disk: whoever has a table of it open gets an error from now on,
// and whoever opens one finds it empty.
func (d *Disk) Break() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tables {
		t.err = d.broken
	}
	d.tables, d.undo = map[int32]*Table{}, nil
}

// Table opens a partition's table, making it if there is none.
func (d *Disk) Table(partition int32) *Table {
	d.mu.Lock()
	defer d.mu.Unlock()
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
func (t *Table) Get(key string) ([]byte, error) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	return t.values[key], t.err
}

// Set sets the value of key to a copy of value.
func (t *Table) Set(key string, value []byte) error { return t.write(key, slices.Clone(value)) }

// Delete deletes key, if it is there.
func (t *Table) Delete(key string) error { return t.write(key, nil) }

// Each calls f for each key that is there now, ascending, until f returns false.
func (t *Table) Each(f func(key string, value []byte) (more bool)) error {
	t.disk.mu.Lock()
	keys := slices.Sorted(maps.Keys(t.values))
	t.disk.mu.Unlock()
	for _, key := range keys {
		v, err := t.Get(key)
		if err != nil {
			return err
		}
		if !f(key, v) {
			break
		}
	}
	_, err := t.Get("")
	return err
}

// Offset returns what SaveOffset last saved, -1 at first.
func (t *Table) Offset() int64 {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	return t.offset
}

// SaveOffset saves the offset.
func (t *Table) SaveOffset(offset int64) error {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	old := t.offset
	t.disk.undo = append(t.disk.undo, func() { t.offset = old })
	t.offset = offset
	return nil
}

func (t *Table) write(key string, v []byte) error {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
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
