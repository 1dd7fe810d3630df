package operations

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weir-metrics/weir/alerts/promrules"
	"github.com/weir-metrics/weir/deploy/conf"
)

// ImportPrometheus translates files of Prometheus's rules and their promtool tests (package promrules).
type ImportPrometheus struct {
	Files  []string
	Config string // the config file whose windows the rules are for; "": the defaults
	Into   string // the folder to write the files to, under their own names; "": one file goes to out
}

// imported is a file that has been read.
type imported struct {
	path   string
	text   []byte
	tests  bool
	result *promrules.Result
}

// Run writes the translation, and to told what was left out and what differs. It returns conf.Faults, and has written
// nothing, if a file or a flag is wrong, and an error that counts what was left out.
func (t ImportPrometheus) Run(out, told io.Writer) error {
	if t.Into == "" && len(t.Files) > 1 {
		return conf.Faults{{Field: "--into", Bound: "must be given for several files: the folder to write them to"}}
	}
	files, err := t.translate()
	if err != nil {
		return err
	}
	if err := t.write(files, out); err != nil {
		return err
	}
	left := 0
	for i := range files {
		f := &files[i]
		for _, n := range f.result.Notes {
			fmt.Fprintf(told, "differs: %v\n", n)
		}
		for _, l := range f.result.Left {
			fmt.Fprintf(told, "left out: %v\n", l)
		}
		left += len(f.result.Left)
		what, n := "alerts", len(f.result.Alerts)
		if f.tests {
			what, n = "tests", f.result.Tests
		}
		fmt.Fprintf(told, "%s: %s translated: %d, left out: %d\n", f.path, what, n, len(f.result.Left))
	}
	if left > 0 {
		return fmt.Errorf("%d things have no equivalent and were left out", left)
	}
	return nil
}

// translate reads and translates the files: the rules first, as the tests refer to their alerts.
func (t ImportPrometheus) translate() ([]imported, error) {
	config, err := RuleTests{Config: t.Config}.config()
	if err != nil {
		return nil, err
	}
	var files []imported
	var faults error
	var names []string
	for _, path := range t.Files {
		text, err := conf.ReadFile(path, conf.MaxRulesBytes)
		if err != nil {
			faults = conf.Join(faults, conf.Unreadable(path, err))
			continue
		}
		f := imported{path: path, text: text, tests: promrules.IsTests(text)}
		if !f.tests {
			if f.result, err = promrules.Rules(path, text, config.RuleConfig()); err != nil {
				faults = conf.Join(faults, err)
				continue
			}
			names = append(names, f.result.Alerts...)
		}
		files = append(files, f)
	}
	smallest := config.Windows.Tiers[0]
	for i := range files {
		f := &files[i]
		if f.tests {
			if f.result, err = promrules.Tests(f.path, f.text, names, smallest.Size.MS()+smallest.Grace.MS()); err != nil {
				faults = conf.Join(faults, err)
			}
		}
	}
	return files, faults
}

// write writes the files, and overwrites none.
func (t ImportPrometheus) write(files []imported, out io.Writer) error {
	for i := range files {
		f := &files[i]
		if f.result.File == nil {
			continue
		}
		if t.Into == "" {
			_, err := io.Copy(out, bytes.NewReader(f.result.File))
			return err
		}
		path := filepath.Join(t.Into, filepath.Base(f.path))
		_, err := os.Lstat(path)
		switch {
		case err == nil:
			err = os.ErrExist
		case os.IsNotExist(err):
			err = os.WriteFile(path, f.result.File, 0o644)
		}
		if err != nil {
			return conf.Faults{{Field: "--into", Value: t.Into, Bound: fmt.Sprintf("%s must be new and writable: %s", filepath.Base(path), conf.ReadFault(err))}}
		}
	}
	return nil
}
