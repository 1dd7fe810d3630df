package alerts

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
)

// File is a rules file.
type File struct {
	Name string // as used in faults
	Data []byte
}

// Bounds of rules, in addition to those of their labels and annotations (template.go) and
// expressions (expression.go).
const (
	maxRules     = 20_000 // of all files
	maxNameBytes = 256    // of a group's name, and of an alert's
	maxForMS     = 365 * 24 * 3600 * 1000
)

// LoadConfig is what rules are checked against.
type LoadConfig struct {
	TiersMS []int64 // the windows' lengths, ms, smallest first; at least one
	// GracesMS is, for each tier, how long after its end, ms, a window closes: until then nothing
	// is known to be missing. Tiers without one close at their end.
	GracesMS []int64
	// Table reads a table of limits that a rules file names: path is as written there. It returns
	// the table's file. nil: tables are in the rules files only.
	Table func(rulesFile, path string) (File, error)
	// TTLsMS is, for each tier, how long its rows are kept, ms; 0 or missing: unknown.
	TTLsMS []int64
	// Before, unless nil, was loaded earlier: files that are the same are not compiled again.
	Before *RuleSet
}

// fileYAML is a rules file, in Prometheus's shape.
type fileYAML struct {
	Limits []limitsYAML `yaml:"limits"`
	Groups []groupYAML  `yaml:"groups"`
}

type groupYAML struct {
	Name  string     `yaml:"name"`
	Rules []ruleYAML `yaml:"rules"`
}

type ruleYAML struct {
	Alert         string            `yaml:"alert"`
	Expr          yaml.Node         `yaml:"expr"`
	For           waits             `yaml:"for"`
	KeepFiringFor conf.Duration     `yaml:"keep_firing_for"`
	Recover       yaml.Node         `yaml:"recover"`
	SLO           *sloYAML          `yaml:"slo"`
	Levels        []levelYAML       `yaml:"levels"`
	Where         yaml.Node         `yaml:"where"`
	By            yaml.Node         `yaml:"by"`
	Tier          conf.Duration     `yaml:"tier"`
	NoData        conf.Duration     `yaml:"no_data"`
	Coverage      share             `yaml:"coverage"`
	OnNoData      string            `yaml:"on_no_data"`
	Shadow        bool              `yaml:"shadow"`
	Labels        map[string]string `yaml:"labels"`
	Annotations   map[string]string `yaml:"annotations"`
}

// Load compiles the rules of the files. Its error is conf.Faults, with every fault of every file.
func Load(cfg LoadConfig, files ...File) (*RuleSet, error) {
	if len(cfg.TiersMS) == 0 {
		return nil, conf.Faults{{Bound: "rules need at least one tier of windows"}}
	}
	l := &loader{tiersMS: cfg.TiersMS, gracesMS: cfg.GracesMS, ttlsMS: cfg.TTLsMS, table: cfg.Table, before: cfg.reusable()}
	l.seen = make(map[string]*rule, l.before.Len())
	var faults conf.Faults
	for _, f := range files {
		if l.reuse(f) {
			continue
		}
		var fs conf.Faults
		if err := l.load(f); errors.As(err, &fs) {
			faults = append(faults, fs...)
		} else if err != nil {
			faults = append(faults, conf.Fault{File: f.Name, Bound: err.Error()})
		}
	}
	if faults != nil {
		return nil, faults
	}
	rs := newRuleSet(l.rules)
	rs.files, rs.warnings = slices.Concat(files, l.tables), l.warnings
	cfg.Before, cfg.Table = nil, nil // or no rules would ever be forgotten
	rs.cfg, rs.loaded = cfg, l.loaded
	text := xxhash.New()
	for _, f := range rs.files {
		_, _ = text.Write(f.Data) // a Digest's writes do not fail
		_, _ = text.Write([]byte{0xff})
	}
	rs.hash = fmt.Sprintf("%016x", text.Sum64())
	return rs, nil
}

// Cut reports, as conf.Faults, the files that look as if they were only the beginning of what they
// were when before was loaded (conf.Cut), or nil.
func (rs *RuleSet) Cut(before *RuleSet) error {
	var faults conf.Faults
	for _, now := range rs.files {
		i := slices.IndexFunc(before.files, func(f File) bool { return f.Name == now.Name })
		if i < 0 {
			continue
		}
		if why := conf.Cut(before.files[i].Data, now.Data); why != "" && !promotedLast(before.files[i].Data, now.Data) {
			faults = append(faults, conf.Fault{File: now.Name, Bound: "looks cut: it " + why})
		}
	}
	if faults == nil {
		return nil
	}
	return faults
}

type loader struct {
	tiersMS  []int64
	gracesMS []int64
	ttlsMS   []int64
	rules    []*rule
	seen     map[string]*rule // by name
	tooMany  bool             // the fault of too many rules was recorded
	warnings conf.Faults
	table    func(rulesFile, path string) (File, error)
	tables   []File // that were read
	before   *RuleSet
	loaded   []loadedFile
	reads    []readTable // for the current file
	from     int         // its first rule

	limits map[string]*limits // of the current file, by name
	others conf.Faults        // of its tables

	doc   *conf.Doc // of the current file
	file  string
	lines [][]rune
}

func (l *loader) load(f File) error {
	if len(f.Data) > conf.MaxRulesBytes {
		return conf.Faults{{File: f.Name, Bound: fmt.Sprintf("is %d bytes long, must be at most %d", len(f.Data), conf.MaxRulesBytes)}}
	}
	l.began(f)
	defer l.ended()
	var file fileYAML
	at := "groups"
	if IsList(f.Data) {
		at = ""
		l.doc = conf.Parse(f.Name, f.Data, &file.Groups)
	} else {
		l.doc = conf.Parse(f.Name, f.Data, &file)
	}
	l.file, l.lines, l.others = f.Name, splitLines(f.Data), nil
	if file.Groups == nil && l.doc.Err() == nil {
		l.doc.Fail(at, nil, "no groups: the file is empty or cut. A file that is meant to have no rules says so: groups: []")
	}
	l.loadLimits(file.Limits)
	for i, g := range file.Groups {
		l.group(fmt.Sprintf("%s[%d]", at, i), &g)
	}
	if len(l.rules) > maxRules && !l.tooMany {
		l.tooMany = true
		l.doc.Fail(at, nil, fmt.Sprintf("%d rules so far, must be at most %d in all files", len(l.rules), maxRules))
	}
	err := l.doc.Err()
	if l.others != nil {
		err = conf.Join(err, l.others)
	}
	return err
}

// IsList reports whether a YAML file has a list at its top, as a file of rules may. The first thing
// in it that is not a comment decides; anything else that is wrong is for conf.Parse to report.
func IsList(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
		if len(line) == 0 || line[0] == '#' || line[0] == '%' {
			continue
		}
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok {
			if line = bytes.TrimSpace(rest); len(line) == 0 || line[0] == '#' {
				continue
			}
		}
		return line[0] == '[' || line[0] == '-' && (len(line) == 1 || line[1] == ' ' || line[1] == '\t')
	}
	return false
}

func splitLines(data []byte) [][]rune {
	var lines [][]rune
	for _, line := range bytes.Split(data, []byte("\n")) {
		lines = append(lines, bytes.Runes(bytes.TrimSuffix(line, []byte("\r"))))
	}
	return lines
}

func (l *loader) group(at string, g *groupYAML) {
	if g.Name == "" {
		l.doc.Fail(at+".name", nil, "must be given")
	} else if len(g.Name) > maxNameBytes || !utf8.ValidString(g.Name) {
		l.doc.Fail(at+".name", g.Name, fmt.Sprintf("must be UTF-8 text of at most %d bytes", maxNameBytes))
	}
	if g.Rules == nil {
		l.doc.Fail(at+".rules", nil, "must be given; a group that is meant to have none says so: rules: []")
	}
	for i := range g.Rules {
		l.rule(fmt.Sprintf("%s.rules[%d]", at, i), g.Name, &g.Rules[i])
	}
}

func (l *loader) rule(at, group string, y *ruleYAML) {
	r := &rule{
		name: group + "/" + y.Alert, alert: y.Alert,
		forMS: y.For.duration.MS(), most: y.For.most, of: y.For.of, keepMS: y.KeepFiringFor.MS(), noDataMS: y.NoData.MS(), coverage: y.Coverage.coverage(),
		shadow: y.Shadow,
	}
	r.place = conf.Fault{File: l.file, Line: l.doc.Line(at + ".alert"), Field: at + ".alert", Value: r.alert}
	if y.SLO != nil {
		l.slo(at, group, r, y)
		return
	}
	l.name(at, r)
	l.settings(at, r, y)
	if y.Levels != nil {
		l.levels(at, r, y)
		y.Expr.Value = levelsText(y.Levels)
	} else {
		l.expressions(at, r, y)
	}
	l.add(r, group, y)
}

// add takes a rule, and what the file says of it.
func (l *loader) add(r *rule, group string, y *ruleYAML) {
	r.written = RuleInfo{
		File: l.file, Line: r.place.Line, Group: group, Alert: r.alert, Expr: y.Expr.Value, Recover: y.Recover.Value, Where: y.Where.Value,
		ForMS: r.forMS, Most: r.most, Of: r.of, KeepMS: r.keepMS, TierMS: r.tierMS, Shadow: r.shadow, Labels: y.Labels, Annotations: y.Annotations,
	}
	l.rules = append(l.rules, r)
}

// settings checks and takes what a rule has besides its name and its expressions.
func (l *loader) settings(at string, r *rule, y *ruleYAML) {
	for _, d := range []struct {
		field string
		value conf.Duration
	}{{"for", y.For.duration}, {"keep_firing_for", y.KeepFiringFor}, {"no_data", y.NoData}, {"tier", y.Tier}} {
		if d.value < 0 {
			l.doc.Fail(at+"."+d.field, d.value, "must be at least 0s")
		} else if d.value.MS() > maxForMS {
			l.doc.Fail(at+"."+d.field, d.value, "must be at most "+msText(maxForMS))
		}
	}
	switch r.onNoData = noDataPolicy(y.OnNoData); r.onNoData {
	case "":
		r.onNoData = endOnNoData
	case endOnNoData, fireOnNoData, keepOnNoData:
	default:
		l.doc.Fail(at+".on_no_data", y.OnNoData, "must be ok, firing or keep")
	}
	if y.By.Kind != 0 {
		l.doc.Fail(at+".by", nil, "aggregating over several hosts (rollup) is not built yet; a rule sees the series of one label set")
	}
	r.labels = l.texts(at+".labels", y.Labels, maxLabelBytes)
	for name := range y.Labels {
		if name == "alertname" || name == "" {
			l.doc.Fail(at+".labels."+name, name, "is not a rule's to set")
		}
	}
	r.annotations = l.texts(at+".annotations", y.Annotations, maxTextBytes)
}

// texts compiles the labels or annotations of a rule, each of at most most bytes.
func (l *loader) texts(at string, texts map[string]string, most int) []labelTemplate {
	if n := len(texts); n > maxRuleLabels {
		l.doc.Fail(at, n, fmt.Sprintf("must be at most %d", maxRuleLabels))
		return nil
	}
	all := 0
	for name, text := range texts {
		if all += len(text); len(name) > maxRuleNameBytes || !utf8.ValidString(name) {
			l.doc.Fail(at+"."+name, name, fmt.Sprintf("must have a name of UTF-8 text, at most %d bytes", maxRuleNameBytes))
		}
	}
	if all > maxAllTextBytes {
		l.doc.Fail(at, nil, fmt.Sprintf("are %d bytes together, must be at most %d", all, maxAllTextBytes))
		return nil
	}
	return compileTemplates(texts, most, func(name string, err error) {
		l.doc.Fail(at+"."+name, texts[name], err.Error())
	})
}

func (l *loader) name(at string, r *rule) {
	switch {
	case r.alert == "":
		l.doc.Fail(at+".alert", nil, "must be given")
		return
	case len(r.alert) > maxNameBytes:
		l.doc.Fail(at+".alert", r.alert, fmt.Sprintf("is %d bytes long, must be at most %d", len(r.alert), maxNameBytes))
		return
	case strings.Contains(r.alert, "/") || !utf8.ValidString(r.alert):
		l.doc.Fail(at+".alert", r.alert, "must be UTF-8 text without /")
		return
	}
	if first, twice := l.seen[r.name]; twice {
		l.doc.Fail(at+".alert", r.alert, "names a rule twice in its group, first at "+fmt.Sprintf("%s:%d", first.place.File, first.place.Line)+": rules need names of their own, also where they differ in severity")
		return
	}
	l.seen[r.name] = r
}

// expressions compiles expr, recover and where, and chooses the tier that they read.
func (l *loader) expressions(at string, r *rule, y *ruleYAML) {
	before := l.doc.Faults()
	var err error
	if text, ok := l.text(at+".expr", &y.Expr); ok {
		if text == "" {
			l.doc.Fail(at+".expr", nil, "must be given")
		} else if r.expr, err = compileExpr(text, &r.inputs); err != nil {
			l.failExpr(at+".expr", &y.Expr, err)
		}
	}
	r.ofExpr = len(r.inputs)
	ofExpr := r.ofExpr
	if text, ok := l.text(at+".recover", &y.Recover); ok && text != "" {
		if r.recover, err = compileExpr(text, &r.inputs); err != nil {
			l.failExpr(at+".recover", &y.Recover, err)
		}
	}
	l.selection(at, r, y)
	l.findLimits(at+".expr", &y.Expr, r.inputs[:ofExpr])
	l.findLimits(at+".recover", &y.Recover, r.inputs[ofExpr:])
	r.tierMS = chooseTier(l.tiersMS, r.inputs)
	if y.Tier > 0 {
		r.tierMS = y.Tier.MS()
		if !slices.Contains(l.tiersMS, r.tierMS) {
			l.doc.Fail(at+".tier", y.Tier, "must be one of the windows' tiers: "+l.tierNames())
			return
		}
	}
	for i := range r.inputs {
		in := &r.inputs[i]
		in.tierMS = r.tierMS
		if err := checkRange(r.tierMS, in); err == nil {
			continue
		} else if i < ofExpr {
			l.failExpr(at+".expr", &y.Expr, &exprError{in.at, err.Error()})
		} else {
			l.failExpr(at+".recover", &y.Recover, &exprError{in.at, err.Error()})
		}
	}
	l.silence(at, r, y)
	l.checkWaits(at, r, y)
	l.places(at, r, y)
	if l.doc.Faults() == before {
		l.refuse(at, r, y)
		l.look(at, r, y)
	}
	r.hash = hashOf(append([]string{y.Expr.Value, y.Recover.Value, msText(r.tierMS)}, limitHashes(r.inputs)...)...)
}

// selection compiles where.
func (l *loader) selection(at string, r *rule, y *ruleYAML) {
	text, ok := l.text(at+".where", &y.Where)
	if !ok || text == "" {
		return
	}
	var err error
	if r.where, err = compileWhere(text); err != nil {
		l.failExpr(at+".where", &y.Where, err)
	}
}

// silence sets after how long the rule takes its series for silent, and how late windows of its tier
// close.
func (l *loader) silence(at string, r *rule, y *ruleYAML) {
	switch least := minNoDataMS(r.tierMS); {
	case y.NoData == 0:
		r.noDataMS = defaultNoDataMS(r.tierMS)
	case y.NoData > 0 && r.noDataMS < least:
		l.doc.Fail(at+".no_data", y.NoData, "must be at least two windows of the rule's tier, "+msText(least))
	}
	if i := slices.Index(l.tiersMS, r.tierMS); i >= 0 && i < len(l.gracesMS) {
		r.graceMS = l.gracesMS[i]
	}
}

// places records where each input of the rule is.
func (l *loader) places(at string, r *rule, y *ruleYAML) {
	for i, in := range r.inputs {
		n, field := &y.Expr, at+".expr"
		if i >= r.ofExpr {
			n, field = &y.Recover, at+".recover"
		}
		line, column := locate(l.lines, n, in.at)
		r.places = append(r.places, conf.Fault{File: l.file, Line: line, Column: column, Field: field, Snippet: caret(l.lines, line, column)})
	}
}

// text returns the text of a scalar; "" for a missing field.
func (l *loader) text(at string, n *yaml.Node) (string, bool) {
	if n.Kind != 0 && n.Kind != yaml.ScalarNode {
		l.doc.Fail(at, nil, "must be a text")
		return "", false
	}
	return n.Value, true
}

func (l *loader) tierNames() string {
	names := make([]string, len(l.tiersMS))
	for i, t := range l.tiersMS {
		names[i] = msText(t)
	}
	return strings.Join(names, ", ")
}

// failExpr records a fault at its place in the file, with the line and a caret.
func (l *loader) failExpr(field string, n *yaml.Node, err error) {
	at := 0
	var ee *exprError
	if errors.As(err, &ee) {
		at = ee.at
	}
	line, column := locate(l.lines, n, at)
	l.doc.FailAt(line, column, field, n.Value, err.Error(), caret(l.lines, line, column))
}
