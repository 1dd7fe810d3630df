package pipelines

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/canary"
)

// maxRuleFiles bounds how many files one entry of rules may match.
const maxRuleFiles = 1000

// ruleFiles are the files from which rules are loaded: the config, the rule files and their tables of
// limits, as they were when they were loaded last, whether they were accepted or refused.
type ruleFiles struct {
	entries []string // of rules: paths, or patterns of them
	known   map[string]fileState
	seen    map[string]string // what they looked like at the last poll
}

// fileState is a file as it was when it was read.
type fileState struct {
	look string // see look; "" if it was there and could not be read: it is tried again
	text uint64 // a hash of its text, or of why it could not be read
}

func newRuleFiles() *ruleFiles { return &ruleFiles{known: map[string]fileState{}} }

// read is conf.ReadFile, and records what was read. The look is from before the read, so that a later
// change is seen.
func (f *ruleFiles) read(path string, most int64) ([]byte, error) {
	state := fileState{look: look(path)}
	text, err := conf.ReadFile(path, most)
	state.text = xxhash.Sum64(text)
	if err != nil {
		state.text = xxhash.Sum64String(err.Error())
		if _, missing := os.Stat(path); missing == nil {
			state.look = ""
		}
	}
	f.known[path] = state
	return text, err
}

// look is what stat tells of a file or of what a link leads to: it changes when the file is written,
// replaced, removed, or when a link above it is turned, as Kubernetes does.
func look(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	inode := uint64(0)
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = s.Ino
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Mode(), inode)
}

// files returns the rule files that an entry of rules names or, with *, ? or [, matches, sorted. As in
// a shell, a * or ? matches no name that begins with a dot: editors and Kubernetes keep theirs so.
func files(entry string) ([]string, error) {
	if !strings.ContainsAny(entry, "*?[") {
		return []string{entry}, nil
	}
	all, err := filepath.Glob(entry)
	if err != nil {
		return nil, errors.New("must be a pattern of file names: " + err.Error())
	}
	parts := strings.Split(filepath.Clean(entry), "/")
	all = slices.DeleteFunc(all, func(path string) bool {
		for i, name := range strings.Split(path, "/") {
			if i < len(parts) && strings.HasPrefix(name, ".") && name != parts[i] && !strings.HasPrefix(parts[i], ".") {
				return true
			}
		}
		return false
	})
	switch {
	case len(all) == 0:
		return nil, errors.New("matches no file. A config that is meant to have no rules says so: rules: []")
	case len(all) > maxRuleFiles:
		return nil, fmt.Errorf("matches %d files, must be at most %d", len(all), maxRuleFiles)
	}
	return all, nil
}

// changed reports whether the files' texts have been others since they were loaded last, and the
// files the same at this poll and at the previous one: one that is being written is not yet whole.
func (f *ruleFiles) changed() bool {
	now := map[string]string{}
	for name := range f.known {
		now[name] = look(name)
	}
	for _, entry := range f.entries {
		names, _ := files(entry) // an entry that cannot be used has been reported
		for _, name := range names {
			now[name] = look(name)
		}
	}
	settled := maps.Equal(now, f.seen)
	f.seen = now
	if !settled {
		return false
	}
	differs := false
	for name, is := range now {
		was, known := f.known[name]
		if known && was.look == is {
			continue
		}
		again := newRuleFiles()
		_, _ = again.read(name, conf.MaxRulesBytes) // what cannot be read has a hash of its own
		if state := again.known[name]; known && state.text == was.text {
			f.known[name] = state // touched, or replaced by the same
		} else {
			differs = true
		}
	}
	return differs
}

// moving reports whether a file has changed since it was read. If so, nothing that was read counts:
// the next polls find all of it changed.
func (f *ruleFiles) moving() bool {
	for name, was := range f.known {
		if was.look != "" && look(name) != was.look {
			for name := range f.known {
				f.known[name] = fileState{}
			}
			return true
		}
	}
	return false
}

// loaded records what next has read: nothing else decides whether the rules are accepted, and which
// they are.
func (f *ruleFiles) loaded(next *ruleFiles) { f.entries, f.known = next.entries, next.known }

// readRules reads the rule files that the config names, relative to its own file.
func (c *Config) readRules() (all []alerts.File) {
	d := c.source.doc
	for i, entry := range c.Rules {
		field, path := fmt.Sprintf("rules[%d]", i), beside(c.source.file, entry)
		c.source.files.entries = append(c.source.files.entries, path)
		names, err := files(path)
		if err != nil {
			d.Fail(field, entry, err.Error())
			continue
		}
		for _, name := range names {
			if slices.ContainsFunc(all, func(f alerts.File) bool { return f.Name == name }) {
				continue // two entries match it
			}
			text, err := c.source.files.read(name, conf.MaxRulesBytes)
			if err != nil {
				if name == path {
					name = entry // as it is written
				}
				d.Fail(field, name, "must be readable: "+conf.ReadFault(err))
				continue
			}
			all = append(all, alerts.File{Name: name, Data: text})
		}
	}
	return all
}

// compile compiles rule files and the tables of limits that they name, unless they are as they were in
// the rules before, which may be nil.
func (c *Config) compile(running *Config, before *alerts.RuleSet, all []alerts.File) (*alerts.RuleSet, error) {
	cfg := running.RuleConfig()
	cfg.Before = before
	if c.source.files != nil {
		cfg.Table = tableReader(c.source.files.read)
	}
	if running.Canary.On() {
		all = append(slices.Clip(all), alerts.File{Name: canary.RuleFile, Data: canary.Rule(running.Canary)})
	}
	return alerts.Load(cfg, all...)
}

// tableReader returns a function that reads a table of limits that a rules file names, relative to
// that file.
func tableReader(read func(path string, most int64) ([]byte, error)) func(rulesFile, name string) (alerts.File, error) {
	return func(rulesFile, name string) (alerts.File, error) {
		path := beside(rulesFile, name)
		text, err := read(path, conf.MaxRulesBytes)
		if err != nil {
			return alerts.File{}, errors.New(conf.ReadFault(err))
		}
		return alerts.File{Name: path, Data: text}, nil
	}
}

// beside returns the path of a file that another file names.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}
