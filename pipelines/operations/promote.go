package operations

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
)

// Promote makes a shadow rule one that pages: it removes shadow: true from its file.
type Promote struct {
	Rule string // group/alert, or alert
	File string
}

// byteOrderMark may begin a file; conf.ReadFile leaves it out.
const byteOrderMark = "\ufeff"

// Run writes the file anew, or returns conf.Faults and has changed nothing. A running weir goes on
// with the rules that it has.
func (p Promote) Run(out io.Writer) error {
	path, err := filepath.EvalSymlinks(p.File)
	if err != nil {
		return conf.Unreadable(p.File, err)
	}
	text, err := conf.ReadFile(path, conf.MaxRulesBytes)
	if err != nil {
		return conf.Unreadable(p.File, err)
	}
	promoted, err := alerts.Promote(alerts.File{Name: p.File, Data: text}, p.Rule)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return conf.Unreadable(p.File, err)
	}
	if info.Size() == int64(len(text)+len(byteOrderMark)) {
		promoted = append([]byte(byteOrderMark), promoted...)
	}
	if err := replace(path, promoted, info.Mode().Perm()); err != nil {
		return conf.Faults{{File: p.File, Bound: "must be writable, and so must its folder: " + conf.ReadFault(err)}}
	}
	_, err = fmt.Fprintf(out, "%s: %s pages once weir has reloaded its rules\n", p.File, p.Rule)
	return err
}

// replace writes a file under another name and renames it: nobody reads half of it.
func replace(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone if all went well
	_, err = f.Write(text)
	for _, do := range []func() error{func() error { return f.Chmod(mode) }, f.Sync, f.Close} {
		if fault := do(); err == nil {
			err = fault
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
