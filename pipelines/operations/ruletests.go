package operations

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/ruletest"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
)

// RuleTests runs files of rule tests (package ruletest).
type RuleTests struct {
	Files  []string
	Config string // the config file whose windows and group labels rules are tested with; "": the defaults
	JUnit  string // the file that the outcomes are written to as JUnit XML; "": none
}

// suite is a file of tests and the rules that it names.
type suite struct {
	file     string
	tests    *ruletest.Suite
	rules    *alerts.RuleSet
	outcomes []ruletest.Outcome
}

// Run runs all tests, and writes to out which failed, and how. It returns conf.Faults, and has run nothing, if a file is
// wrong, and an error that counts the tests that failed.
func (t RuleTests) Run(ctx context.Context, out io.Writer) error {
	config, err := t.config()
	if err != nil {
		return err
	}
	var suites []suite
	var faults error
	for _, file := range t.Files {
		s, err := loadSuite(file, config)
		suites, faults = append(suites, s), conf.Join(faults, err)
	}
	if faults != nil {
		return faults
	}
	failed, all := 0, 0
	for i := range suites {
		s := &suites[i]
		if s.outcomes, err = s.tests.Run(ctx, config.Windows, s.rules, ruletest.None); err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
		failed, all = failed+s.failed(), all+len(s.outcomes)
		if err := s.write(out); err != nil {
			return err
		}
	}
	if err := t.writeJUnit(suites); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d tests failed", failed, all)
	}
	return nil
}

func (t RuleTests) config() (*pipelines.Config, error) {
	if t.Config == "" {
		c := pipelines.Default()
		return &c, nil
	}
	c, _, err := pipelines.Load(t.Config)
	return c, err
}

// loadSuite reads a file of tests and the rules that it names. The error is conf.Faults.
func loadSuite(file string, config *pipelines.Config) (suite, error) {
	s := suite{file: file}
	text, err := conf.ReadFile(file, conf.MaxRulesBytes)
	if err != nil {
		return s, conf.Unreadable(file, err)
	}
	if s.tests, err = ruletest.ParseSuite(file, text, config.Windows.TiersMS()); err != nil {
		return s, err
	}
	var files []alerts.File
	for _, r := range s.tests.RuleFiles {
		read, err := readRules(filepath.Dir(file), r)
		if err != nil {
			return s, err
		}
		for _, f := range read {
			if !slices.ContainsFunc(files, func(has alerts.File) bool { return has.Name == f.Name }) {
				files = append(files, f)
			}
		}
	}
	if s.rules, err = alerts.Load(config.RuleConfig(), files...); err != nil {
		return s, err
	}
	return s, s.tests.Check(s.rules)
}

// readRules reads the files that a suite in the folder dir names.
func readRules(dir string, r ruletest.RuleFile) ([]alerts.File, error) {
	fault := func(bound string) ([]alerts.File, error) {
		f := r.Place
		f.Bound = bound
		return nil, conf.Faults{f}
	}
	path := r.Pattern
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	paths := []string{path}
	if strings.ContainsAny(r.Pattern, "*?[") {
		var err error
		if paths, err = filepath.Glob(path); err != nil {
			return fault("is no pattern of file names: " + err.Error())
		} else if len(paths) == 0 {
			return fault("matches no file")
		}
	}
	var files []alerts.File
	for _, path := range paths {
		text, err := conf.ReadFile(path, conf.MaxRulesBytes)
		if err != nil {
			return fault("must be readable: " + conf.ReadFault(err))
		}
		files = append(files, alerts.File{Name: path, Data: text})
	}
	return files, nil
}

func (s *suite) failed() int {
	n := 0
	for _, o := range s.outcomes {
		if len(o.Failures) > 0 {
			n++
		}
	}
	return n
}

// write writes which tests of the suite failed, and how.
func (s *suite) write(out io.Writer) error {
	var b strings.Builder
	for _, o := range s.outcomes {
		if len(o.Failures) > 0 {
			fmt.Fprintf(&b, "FAIL %s:%d: %s\n%s", s.file, o.Line, o.Name, s.text(o.Failures))
		}
	}
	if n := s.failed(); n > 0 {
		fmt.Fprintf(&b, "%s: %d of %d tests failed\n", s.file, n, len(s.outcomes))
	} else {
		fmt.Fprintf(&b, "ok   %s: %d passed\n", s.file, len(s.outcomes))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// text writes failures with their places, and what differs below each.
func (s *suite) text(failures []ruletest.Failure) string {
	var b strings.Builder
	for _, f := range failures {
		fmt.Fprintf(&b, "  %s:%d: %s\n", s.file, f.Line, f.What)
		for line := range strings.Lines(f.Diff) {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

type (
	junitFiles struct {
		XMLName xml.Name    `xml:"testsuites"`
		Tests   int         `xml:"tests,attr"`
		Failed  int         `xml:"failures,attr"`
		Files   []junitFile `xml:"testsuite"`
	}
	junitFile struct {
		Name   string      `xml:"name,attr"`
		Tests  int         `xml:"tests,attr"`
		Failed int         `xml:"failures,attr"`
		Cases  []junitTest `xml:"testcase"`
	}
	junitTest struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"` // what CI servers group tests by
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes the outcomes to the JUnit file, if one was asked for.
func (t RuleTests) writeJUnit(suites []suite) error {
	if t.JUnit == "" {
		return nil
	}
	var all junitFiles
	for i := range suites {
		s := &suites[i]
		f := junitFile{Name: s.file, Tests: len(s.outcomes), Failed: s.failed()}
		for _, o := range s.outcomes {
			c := junitTest{Name: o.Name, Class: s.file, File: s.file, Line: o.Line}
			if len(o.Failures) > 0 {
				c.Failure = &junitFailure{Message: o.Failures[0].What, Text: s.text(o.Failures)}
			}
			f.Cases = append(f.Cases, c)
		}
		all.Files = append(all.Files, f)
		all.Tests, all.Failed = all.Tests+f.Tests, all.Failed+f.Failed
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	if err := os.WriteFile(t.JUnit, append([]byte(xml.Header), append(text, '\n')...), 0o644); err != nil {
		return conf.Faults{{Field: "--junit", Value: t.JUnit, Bound: "must be writable: " + conf.ReadFault(err)}}
	}
	return nil
}
