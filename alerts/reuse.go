package alerts

import (
	"bytes"
	"slices"
)

// loadedFile is a rules file, and what was loaded from it.
type loadedFile struct {
	file     File
	tables   []readTable // of limits, that it names
	rules    []*rule
	warnings []int // of RuleSet.warnings: from, to
}

// readTable is a table of limits that was read for a rules file, by its path as written there.
type readTable struct {
	path string
	file File
}

// reusable returns the rules from which files that are the same may be taken, or nil: rules depend
// on nothing but their file, its tables and the config.
func (cfg *LoadConfig) reusable() *RuleSet {
	b := cfg.Before
	if b == nil || !slices.Equal(b.cfg.TiersMS, cfg.TiersMS) || !slices.Equal(b.cfg.GracesMS, cfg.GracesMS) || !slices.Equal(b.cfg.TTLsMS, cfg.TTLsMS) {
		return nil
	}
	return b
}

// reuse takes the rules of a file over from those before, if it and its tables are the same, and
// reports whether it did. A file of which a rule's name is taken, or with which there are too many
// rules, is loaded, to say so.
func (l *loader) reuse(f File) bool {
	if l.before == nil {
		return false
	}
	i := slices.IndexFunc(l.before.loaded, func(b loadedFile) bool { return b.file.Name == f.Name })
	if i < 0 || !bytes.Equal(l.before.loaded[i].file.Data, f.Data) {
		return false
	}
	was := &l.before.loaded[i]
	if len(l.rules)+len(was.rules) > maxRules {
		return false
	}
	for _, t := range was.tables {
		if l.table == nil {
			return false
		}
		if now, err := l.table(f.Name, t.path); err != nil || now.Name != t.file.Name || !bytes.Equal(now.Data, t.file.Data) {
			return false
		}
	}
	for _, r := range was.rules {
		if _, twice := l.seen[r.name]; twice {
			return false
		}
	}
	l.began(f)
	again := make([]rule, len(was.rules)) // their places among the rules may be others
	for i, r := range was.rules {
		again[i] = *r
		l.rules = append(l.rules, &again[i])
		l.seen[r.name] = &again[i]
	}
	l.reads = append(l.reads, was.tables...)
	l.warnings = append(l.warnings, l.before.warnings[was.warnings[0]:was.warnings[1]]...)
	l.ended()
	return true
}

// began and ended record what comes from a file.
func (l *loader) began(f File) {
	l.loaded = append(l.loaded, loadedFile{file: f, warnings: []int{len(l.warnings), 0}})
	l.reads, l.from = nil, len(l.rules)
}

func (l *loader) ended() {
	f := &l.loaded[len(l.loaded)-1]
	f.tables, f.rules, f.warnings[1] = l.reads, l.rules[l.from:len(l.rules):len(l.rules)], len(l.warnings)
	for _, t := range l.reads {
		l.tables = append(l.tables, t.file)
	}
}
