package writeback

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/lovoo/goka/storage"
)

// Store is the local copy of group tables: one Pebble for all topics and partitions
// of a process. It is a cache of the changelogs; Open wipes it when it cannot be
// trusted. Safe for concurrent use.
type Store struct {
	db *pebble.DB
}

// storeFormat is part of the directory's name: a new format starts afresh.
const storeFormat = 1

// maxOffline is how long a partition may have been away from its store: after
// delete.retention.ms (a day) the changelog no longer says which keys were deleted
// (TRAPS 10).
const maxOffline = 20 * time.Hour

// OpenStore opens the store in dir, made if need be. One that does not open is
// wiped: the changelog rebuilds it. It returns an error when another process has it
// open or the directory cannot be written.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	path := filepath.Join(dir, "state-"+strconv.Itoa(storeFormat))
	s, err := openStore(path, log)
	if err == nil {
		return s, nil
	}
	if errors.Is(err, os.ErrPermission) || isLocked(err) {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	log.Warn("local state does not open: it will be rebuilt from the changelog", "dir", path, "err", err)
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("wipe state %s: %w", path, err)
	}
	if s, err = openStore(path, log); err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return s, nil
}

// isLocked says that another process has the store open.
func isLocked(err error) bool {
	return bytes.Contains([]byte(err.Error()), []byte("lock")) || bytes.Contains([]byte(err.Error()), []byte("resource temporarily unavailable"))
}

func openStore(path string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	opts := &pebble.Options{MemTableSize: 16 << 20, FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLog{log}}
	opts.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	db, err := pebble.Open(path, opts)
	if err != nil {
		return nil, err
	}
	return &Store{db}, nil
}

// Close flushes and closes the store.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) get(k []byte) ([]byte, error) {
	v, c, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(v)
	return out, c.Close()
}

// pebbleLog drops Pebble's chatter and keeps its errors.
type pebbleLog struct{ log *slog.Logger }

func (pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(f string, a ...any) {
	l.log.Error("state store", "err", fmt.Sprintf(f, a...))
}
func (l pebbleLog) Fatalf(f string, a ...any) {
	l.log.Error("state store: fatal", "err", fmt.Sprintf(f, a...))
	os.Exit(1) // Pebble calls it when its files are corrupt beneath it; going on would lose state
}

// partition opens the part of one table partition. id is the topic's id: what was
// kept for another topic of the same name, or too long ago, is wiped.
func (s *Store) partition(topic string, p int32, id [16]byte, now time.Time) (*partStore, error) {
	prefix := append([]byte{1}, topic...)
	prefix = binary.BigEndian.AppendUint32(append(prefix, 0), uint32(p))
	ps := &partStore{s: s, prefix: prefix, meta: append(bytes.Clone(prefix), 0)}
	ps.data = append(bytes.Clone(prefix), 1)
	ps.end = append(bytes.Clone(prefix), 2)
	have, err := s.get(ps.meta)
	if err != nil {
		return nil, fmt.Errorf("state of %s/%d: %w", topic, p, err)
	}
	if len(have) == 32 && bytes.Equal(have[:16], id[:]) && now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(have[24:])))) < maxOffline {
		ps.offset.Store(int64(binary.BigEndian.Uint64(have[16:])))
	} else {
		if err := s.db.DeleteRange(prefix, ps.end, pebble.NoSync); err != nil {
			return nil, fmt.Errorf("state of %s/%d: %w", topic, p, err)
		}
		ps.offset.Store(-1)
	}
	ps.id = id
	return ps, nil
}

// partStore implements storage.Storage for one partition.
type partStore struct {
	s                       *Store
	id                      [16]byte
	prefix, meta, data, end []byte
	offset                  tableOffset
}

func (p *partStore) key(k string) []byte { return append(bytes.Clone(p.data), k...) }

func (p *partStore) Open() error  { return nil }
func (p *partStore) Close() error { return p.save() }

func (p *partStore) Has(k string) (bool, error) {
	v, err := p.Get(k)
	return v != nil, err
}
func (p *partStore) Get(k string) ([]byte, error) { return p.s.get(p.key(k)) }
func (p *partStore) Set(k string, v []byte) error { return p.s.db.Set(p.key(k), v, pebble.NoSync) }
func (p *partStore) Delete(k string) error        { return p.s.db.Delete(p.key(k), pebble.NoSync) }
func (p *partStore) MarkRecovered() error {
	p.offset.recovered.Store(true)
	return p.save()
}

func (p *partStore) GetOffset(def int64) (int64, error) {
	return p.offset.get(def)
}

// SetOffset keeps the offset in memory, and on disk every 1,000: a stale one only
// means that a little more of the changelog is read again. Pebble's log keeps order,
// so the offset on disk is never ahead of the values.
func (p *partStore) SetOffset(o int64) error {
	if p.offset.advance(o) && o%1000 == 0 {
		return p.save()
	}
	return nil
}

// tableOffset is the offset up to which all of the changelog is here, -1 for none.
// Once recovery has read up to the end, it follows the acknowledgements of what this
// process writes. If another one writes in between, who has lost the partition and
// does not know or who has got it already, it stays where it is: what lies beyond is
// read again by the next recovery.
type tableOffset struct {
	atomic.Int64
	recovered atomic.Bool
}

func (t *tableOffset) get(def int64) (int64, error) {
	if o := t.Load(); o >= 0 {
		return o, nil
	}
	return def, nil
}

// advance sets the offset to o, unless that is not newer or leaves a gap.
func (t *tableOffset) advance(o int64) bool {
	for {
		old := t.Load()
		if o <= old || o > old+1 && t.recovered.Load() {
			return false
		}
		if t.CompareAndSwap(old, o) {
			return true
		}
	}
}

func (p *partStore) save() error {
	o := p.offset.Load()
	if o < 0 {
		return nil
	}
	v := binary.BigEndian.AppendUint64(bytes.Clone(p.id[:]), uint64(o))
	return p.s.db.Set(p.meta, binary.BigEndian.AppendUint64(v, uint64(time.Now().UnixMilli())), pebble.NoSync)
}

func (p *partStore) Iterator() (storage.Iterator, error) {
	it, err := p.s.db.NewIter(&pebble.IterOptions{LowerBound: p.data, UpperBound: p.end})
	return &pebbleIter{it: it, skip: len(p.data)}, err
}

func (p *partStore) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	it, err := p.s.db.NewIter(&pebble.IterOptions{LowerBound: p.key(string(start)), UpperBound: p.key(string(limit))})
	return &pebbleIter{it: it, skip: len(p.data)}, err
}

type pebbleIter struct {
	it    *pebble.Iterator
	skip  int
	begun bool
}

func (i *pebbleIter) Next() bool {
	if !i.begun {
		i.begun = true
		return i.it.First()
	}
	return i.it.Next()
}
func (i *pebbleIter) Err() error             { return i.it.Error() }
func (i *pebbleIter) Key() []byte            { return i.it.Key()[i.skip:] }
func (i *pebbleIter) Value() ([]byte, error) { return i.it.ValueAndErr() }
func (i *pebbleIter) Release()               { i.it.Close() }
func (i *pebbleIter) Seek(k []byte) bool {
	i.begun = true
	return i.it.SeekGE(append(bytes.Clone(i.it.Key()[:i.skip]), k...))
}
