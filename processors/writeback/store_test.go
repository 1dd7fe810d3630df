package writeback

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	quiet   = slog.New(slog.NewTextHandler(io.Discard, nil))
	tableID = [16]byte{7}
)

// filledStore makes a store with keys in tables and in the log, with each key's offset saved after it, and closes it.
func filledStore(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := OpenStore(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.table("table", 0, tableID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3000) {
		if err := errors.Join(p.Set(keyOf(i), valueOf(i)), p.SaveOffset(i)); err != nil {
			t.Fatal(err)
		}
		if i == 1000 || i == 2000 {
			if err := s.files.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func keyOf(i int64) string   { return fmt.Sprintf("key-%05d", i) }
func valueOf(i int64) []byte { return bytes.Repeat([]byte(keyOf(i)), 20) }

// whole reads the store and returns how many keys it has up to its offset, or an error if one of them is missing or wrong.
func whole(s *Store) (n int64, err error) {
	p, err := s.table("table", 0, tableID, time.Now())
	if err != nil {
		return 0, err
	}
	have := map[string]string{}
	if err := p.Each(func(key string, v []byte) bool { have[key] = string(v); return true }); err != nil {
		return 0, err
	}
	offset := p.Offset()
	for i := range offset + 1 {
		if have[keyOf(i)] != string(valueOf(i)) {
			return 0, fmt.Errorf("at %d, key %d is %.20q", offset, i, have[keyOf(i)])
		}
	}
	return offset + 1, nil
}

// TestCorruptStore damages each file of a store in turn. Either the store is complete up to its offset, or it is thrown away,
// at once or when it is next used. Nothing ends the process.
func TestCorruptStore(t *testing.T) {
	good := filledStore(t)
	state := filepath.Join(good, "state-1")
	files, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	harms := map[string]func(path string, b []byte) error{
		"flipped in the middle": func(path string, b []byte) error { b[len(b)/2] ^= 0x40; return os.WriteFile(path, b, 0o600) },
		"flipped at the end":    func(path string, b []byte) error { b[len(b)-9] ^= 0x40; return os.WriteFile(path, b, 0o600) },
		"flipped all over": func(path string, b []byte) error {
			for i := 0; i < len(b); i += 97 {
				b[i] ^= 0xff
			}
			return os.WriteFile(path, b, 0o600)
		},
		"cut":      func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o600) },
		"empty":    func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"deleted":  func(path string, _ []byte) error { return os.Remove(path) },
		"a folder": func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	}
	rebuilt, kept, locked := 0, 0, 0
	for _, file := range files {
		for name, harm := range harms {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "state-1"), os.DirFS(state)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "state-1", file.Name())
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) < 10 {
				continue // the lock
			}
			what := file.Name() + " " + name
			if err := harm(path, b); err != nil {
				t.Fatal(err)
			}
			s, err := OpenStore(dir, quiet)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			n, err := whole(s)
			if errors.Is(err, ErrBroken) {
				n, err = whole(s)
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if n == 3000 {
				kept++
			} else {
				rebuilt++
			}
			p, err := s.table("table", 0, tableID, time.Now())
			if err == nil {
				err = errors.Join(p.Set("new", []byte("new")), s.Close())
			}
			if err != nil {
				t.Errorf("%s: write: %v", what, err)
			}
			switch s, err = OpenStore(dir, quiet); {
			case err != nil && isLocked(err): // Pebble broke as it closed, and holds its lock as long as this process lives
				locked++
				continue
			case err != nil:
				t.Errorf("%s: opened again: %v", what, err)
				continue
			}
			if left := s.others(); len(left) > 0 {
				t.Errorf("%s: left %v", what, left)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d files; %d damaged stores were complete, %d were not", len(files), kept, rebuilt)
	if locked > 3 {
		t.Errorf("%d stores were locked when they were opened again", locked)
	}
	if rebuilt == 0 {
		t.Error("no damage was found")
	}
}

// TestStrangeStore: anything else in the place of the store is thrown away.
func TestStrangeStore(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a file": func(path string) error { return os.WriteFile(path, []byte("no store"), 0o600) },
		"another's folder": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "CURRENT"), []byte("x"), 0o600))
		},
		"a foreign version": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "marker.format-version.000001.999"), nil, 0o600))
		},
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, "state-1")); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(dir, quiet)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n, err := whole(s); n != 0 || err != nil {
			t.Errorf("%s: %d keys, %v", name, n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStoreInUse: a store that another process has open is not thrown away.
func TestStoreInUse(t *testing.T) {
	dir := filledStore(t)
	s, err := OpenStore(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir, quiet); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("opened twice: %v", err)
	}
	if n, err := whole(s); n != 3000 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStoreBreaksWhileItRuns: after a store breaks, every call fails, until a partition is opened.
func TestStoreBreaksWhileItRuns(t *testing.T) {
	s, err := OpenStore(filledStore(t), quiet)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.table("table", 0, tableID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = s.files.do(func() error { pebbleLog{s.files}.Fatalf("no space left on %s", "device"); return nil })
	if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("%v", err)
	}
	ended := make(chan struct{})
	go func() { // one of Pebble's own
		defer close(ended)
		pebbleLog{s.files}.Fatalf("again")
		t.Error("Fatalf returned")
	}()
	<-ended
	_, getErr := p.Get(keyOf(1))
	eachErr := p.Each(func(string, []byte) bool { t.Error("there is a value"); return false })
	for what, err := range map[string]error{"Get": getErr, "Each": eachErr, "Set": p.Set("k", nil), "Delete": p.Delete("k"), "SaveOffset": p.SaveOffset(1)} {
		if !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n, err := whole(s); n != 0 || err != nil {
		t.Errorf("after it broke: %d keys, %v", n, err)
	}
	if _, err := p.Get(keyOf(1)); !errors.Is(err, ErrBroken) {
		t.Errorf("the old partition reads the new files: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
