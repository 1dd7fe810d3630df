package writeback

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Store is the local copy of group tables: one Pebble for all topics and partitions of a process.
// It is a cache of the changelogs: whatever cannot be trusted is thrown away, at OpenStore or when
// a partition is opened after something was found to be wrong (broken). It is safe for concurrent
// use.
type Store struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	files   *files
	rebuilt atomic.Int64 // how often it has been thrown away
}

// files is a Pebble. When something is wrong with it, it is no longer touched: everything returns
// ErrBroken.
type files struct {
	db     *pebble.DB
	path   string
	log    *slog.Logger
	broken atomic.Pointer[error]
}

// ErrBroken is wrapped by the errors of a Store whose files are corrupt, gone, or cannot be
// written. The next Run begins with new ones.
var ErrBroken = errors.New("the local store is broken")

// storeFormat is part of the directory's name: a new format starts afresh.
const storeFormat = 1

// maxOffline is how long a partition may have been away from its store: after
// delete.retention.ms (a day) the changelog no longer says which keys were deleted.
const maxOffline = 20 * time.Hour

// OpenStore opens the store in dir, making it if need be. A store that does not open is thrown
// away: the changelog rebuilds it. OpenStore returns an error if another process has the store
// open, or the directory cannot be written.
func OpenStore(dir string, log *slog.Logger) (*Store, error) {
	s := &Store{path: filepath.Join(dir, "state-"+strconv.Itoa(storeFormat)), log: log}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state %s: %w", s.path, err)
	}
	f, err := openFiles(s.path, log)
	if err != nil {
		if isLocked(err) {
			return nil, fmt.Errorf("open state %s: %w", s.path, err)
		}
		log.Warn("cannot open the local state: it is thrown away and rebuilt from the changelog", "dir", s.path, "err", err)
		s.rebuilt.Add(1)
		if f, err = s.anew(); err != nil {
			return nil, err
		}
	}
	s.files = f
	for _, old := range s.others() { // from a life in which the store broke: nobody uses them, as this one is locked
		if old != f.path {
			_ = os.RemoveAll(old)
		}
	}
	return s, nil
}

// others returns the directories that took the place of s.path.
func (s *Store) others() []string {
	old, _ := filepath.Glob(s.path + ".*") // cannot fail: the pattern is valid
	return old
}

// anew throws away what there is and opens new files: in the same place, or, if this process still
// holds that, beside it. The lock on a place stays until the process ends.
func (s *Store) anew() (*files, error) {
	path := s.path
	if s.files != nil {
		s.files.abandon()
		path = s.files.path
	}
	if err := empty(path); err != nil {
		s.log.Warn("cannot delete the broken local state", "dir", path, "err", err)
	}
	f, err := openFiles(path, s.log)
	if err != nil {
		path = s.path + "." + strconv.FormatInt(s.rebuilt.Load(), 10)
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("open state %s: %w", path, err)
		}
		f, err = openFiles(path, s.log)
	}
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return f, nil
}

// empty deletes everything at path except the lock.
func empty(path string) error {
	in, err := os.ReadDir(path)
	if err != nil {
		return os.RemoveAll(path)
	}
	for _, file := range in {
		if file.Name() != "LOCK" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, file.Name())))
		}
	}
	return err
}

// current returns the files, or new ones if those are broken.
func (s *Store) current() (*files, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.files.broken.Load(); err != nil {
		s.log.Warn("local state is broken: it is thrown away and rebuilt from the changelog", "dir", s.path, "err", *err)
		s.rebuilt.Add(1)
		f, err := s.anew()
		if err != nil {
			return nil, err
		}
		s.files = f
	}
	return s.files, nil
}

// isLocked reports whether another process has the store open.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && strings.Contains(err.Error(), "LOCK") ||
		strings.Contains(err.Error(), "lock held by current process")
}

// openFiles opens a Pebble in a goroutine of its own: if Pebble gives up while opening, only that
// goroutine ends.
func openFiles(path string, log *slog.Logger) (*files, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	f := &files{path: path, log: log}
	opts := &pebble.Options{MemTableSize: 16 << 20, FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLog{f},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { f.breaks(err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { f.breaks(fmt.Errorf("%s: %w", i.Path, i.Details)) },
		}}
	opts.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = f.do(func() (err error) {
			f.db, err = pebble.Open(path, opts)
			return err
		})
	}()
	<-done
	if broken := f.broken.Load(); broken != nil {
		err = *broken
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// breaks records that something is wrong with the files.
func (f *files) breaks(err error) {
	if f.broken.CompareAndSwap(nil, &err) {
		f.log.Error("state store: broken", "dir", f.path, "err", err)
	}
}

// abandon closes broken files, if possible: one of Pebble's goroutines may have ended while holding
// a lock.
func (f *files) abandon() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer func() { _ = recover() }() // they are broken
		_ = f.db.Close()
	}()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
	}
}

// do uses the files. Any error or panic means that they are broken: none goes away by trying again.
func (f *files) do(what func() error) (err error) {
	if broken := f.broken.Load(); broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, *broken)
	}
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
		if err != nil {
			f.breaks(err)
			err = fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}()
	return what()
}

// Close flushes and closes the store, unless it is broken.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files.broken.Load() != nil {
		s.files.abandon()
		return nil
	}
	if err := s.files.do(s.files.db.Close); err != nil {
		s.log.Warn("local state was not closed cleanly: what is missing is rebuilt from the changelog", "dir", s.path, "err", err)
	}
	return nil
}

func (f *files) get(k []byte) (out []byte, err error) {
	err = f.do(func() error {
		v, c, err := f.db.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		out = append([]byte{}, v...)
		return c.Close()
	})
	return out, err
}

func (f *files) set(k, v []byte) error {
	return f.do(func() error { return f.db.Set(k, v, pebble.NoSync) })
}

func (f *files) delete(k []byte) error {
	return f.do(func() error { return f.db.Delete(k, pebble.NoSync) })
}

// pebbleLog drops Pebble's chatter and keeps its errors.
type pebbleLog struct{ f *files }

func (pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(f string, a ...any) {
	l.f.log.Error("state store", "err", fmt.Sprintf(f, a...))
}

// Fatalf is called by Pebble when it cannot continue, and must not return. A caller of the store
// learns it from the panic that do catches; a goroutine of Pebble's own ends.
func (l pebbleLog) Fatalf(f string, a ...any) {
	err := fmt.Errorf(f, a...)
	l.f.breaks(err)
	if strings.Contains(string(debug.Stack()), "writeback.(*files).do") {
		panic(err)
	}
	runtime.Goexit()
}

// table opens the copy of a partition of a table. id is the topic's id: what was kept for another
// topic of the same name, or too long ago, is wiped.
func (s *Store) table(topic string, p int32, id [16]byte, now time.Time) (*storeTable, error) {
	ps, err := s.openTable(topic, p, id, now)
	if errors.Is(err, ErrBroken) { // which has just been found
		ps, err = s.openTable(topic, p, id, now)
	}
	return ps, err
}

func (s *Store) openTable(topic string, p int32, id [16]byte, now time.Time) (ps *storeTable, err error) {
	prefix := append([]byte{1}, topic...)
	prefix = binary.BigEndian.AppendUint32(append(prefix, 0), uint32(p))
	ps = &storeTable{prefix: prefix, meta: append(bytes.Clone(prefix), 0)}
	ps.data = append(bytes.Clone(prefix), 1)
	ps.end = append(bytes.Clone(prefix), 2)
	if ps.f, err = s.current(); err != nil {
		return nil, err
	}
	have, err := ps.f.get(ps.meta)
	if err != nil {
		return nil, fmt.Errorf("state of %s/%d: %w", topic, p, err)
	}
	if len(have) == 32 && bytes.Equal(have[:16], id[:]) && now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(have[24:])))) < maxOffline {
		ps.offset = int64(binary.BigEndian.Uint64(have[16:]))
	} else {
		if err := ps.f.do(func() error { return ps.f.db.DeleteRange(prefix, ps.end, pebble.NoSync) }); err != nil {
			return nil, fmt.Errorf("state of %s/%d: %w", topic, p, err)
		}
		ps.offset = -1
	}
	ps.id = id
	return ps, nil
}

// storeTable is a Table of a Store.
type storeTable struct {
	f                       *files
	id                      [16]byte
	prefix, meta, data, end []byte
	offset                  int64
}

func (p *storeTable) key(k string) []byte { return append(bytes.Clone(p.data), k...) }

func (p *storeTable) Get(k string) ([]byte, error) { return p.f.get(p.key(k)) }
func (p *storeTable) Set(k string, v []byte) error { return p.f.set(p.key(k), v) }
func (p *storeTable) Delete(k string) error        { return p.f.delete(p.key(k)) }

// Offset is what was saved when the table was opened.
func (p *storeTable) Offset() int64 { return p.offset }

// SaveOffset saves the offset, and that the table was in use now. Pebble's log keeps order, so the
// offset on disk is never ahead of the values.
func (p *storeTable) SaveOffset(o int64) error {
	if o < 0 {
		return nil
	}
	v := binary.BigEndian.AppendUint64(bytes.Clone(p.id[:]), uint64(o))
	return p.f.set(p.meta, binary.BigEndian.AppendUint64(v, uint64(time.Now().UnixMilli())))
}

// Each calls f outside of files.do: what goes wrong in f does not break the files.
func (p *storeTable) Each(f func(key string, value []byte) bool) error {
	it := &pebbleIter{f: p.f}
	defer it.release()
	err := p.f.do(func() (err error) {
		it.it, err = p.f.db.NewIter(&pebble.IterOptions{LowerBound: p.data, UpperBound: p.end})
		return err
	})
	if err != nil {
		return err
	}
	for it.next() {
		v, err := it.value()
		if err != nil {
			return err
		}
		if !f(string(it.it.Key()[len(p.data):]), v) {
			break
		}
	}
	return it.err
}

// pebbleIter stops at the first error.
type pebbleIter struct {
	f     *files
	it    *pebble.Iterator
	begun bool
	err   error
}

func (i *pebbleIter) next() (more bool) {
	how := i.it.Next
	if !i.begun {
		i.begun, how = true, i.it.First
	}
	i.err = i.f.do(func() error {
		more = how()
		return i.it.Error()
	})
	return more && i.err == nil
}

func (i *pebbleIter) value() (v []byte, err error) {
	err = i.f.do(func() (err error) {
		v, err = i.it.ValueAndErr()
		return err
	})
	return v, err
}

// release closes what is open, also of broken files, which cannot be closed before.
func (i *pebbleIter) release() {
	defer func() { _ = recover() }()
	if i.it != nil {
		_ = i.it.Close() // callers that care have asked err
	}
}
