package ruletest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Case is one command of a file, and its outcome.
type Case struct {
	Comment []string // lines before the command, as they are
	Line    int      // of the command, from 1
	Command string   // the line
	Input   string
	Want    string
	Got     string // set by Run
}

// Failed reports whether the output is not the expected one.
func (c *Case) Failed() bool { return c.Want != c.Got }

// Disturbance is what a run does to the alerts' state beyond what the file says. The output must be the
// same with each.
type Disturbance int

// The disturbances: none; the state is encoded and decoded after each step; each
// step's windows are closed twice, and each condition given to Step twice.
const (
	None Disturbance = iota
	Restarts
	Replays
)

const divider = "----"

// Parse reads a file of cases. Its error names the file and the line.
func Parse(name string, data []byte) ([]Case, error) {
	var cases []Case
	var c *Case
	part := 0 // 0: between cases, 1: input, 2: output
	var comment []string
	for i, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		switch {
		case part == 0 && (line == "" || strings.HasPrefix(line, "#")):
			comment = append(comment, line)
		case part == 0:
			cases = append(cases, Case{Comment: comment, Line: i + 1, Command: line})
			c, comment, part = &cases[len(cases)-1], nil, 1
		case part == 1 && line == divider:
			part = 2
		case part == 1:
			c.Input += line + "\n"
		case line == "":
			part, comment = 0, []string{""}
		default:
			c.Want += line + "\n"
		}
	}
	if part == 1 {
		return nil, fmt.Errorf("%s:%d: %s: no line %s after the input", name, c.Line, c.Command, divider)
	}
	if cases == nil {
		return nil, fmt.Errorf("%s: no cases", name)
	}
	return cases, nil
}

// Format writes the cases as a file, with their actual outputs as the expected ones.
func Format(cases []Case) []byte {
	var b strings.Builder
	for _, c := range cases {
		for _, line := range c.Comment {
			b.WriteString(line + "\n")
		}
		b.WriteString(c.Command + "\n" + c.Input + divider + "\n" + c.Got)
	}
	return []byte(b.String())
}

// Run runs the cases in order and sets Got of each. The output of a command that fails is its error.
func Run(cases []Case, d Disturbance) {
	r := &run{}
	r.player.disturbance = d
	r.reset([]int64{10_000, 60_000, 3_600_000})
	for i := range cases {
		c := &cases[i]
		r.out.Reset()
		if err := r.command(c); err != nil {
			fmt.Fprintf(&r.out, "error: %v\n", err)
		}
		if r.err != nil {
			fmt.Fprintf(&r.out, "error: %v\n", r.err)
		}
		c.Got = r.out.String()
	}
}

// run is the state between the commands of a file. It prints what its player does.
type run struct {
	player
	tiersMS []int64
	series  []*values
	out     strings.Builder
}

// values are what a series has in each window of the smallest tier; nil: nothing.
type values struct {
	series   schemas.Series
	windows  [][]float64
	revision map[int64]uint32 // by window end
}

func (r *run) reset(tiersMS []int64) {
	r.tiersMS, r.series = tiersMS, nil
	r.player = player{disturbance: r.disturbance, moved: r.printTransition}
}

func (r *run) command(c *Case) error {
	words := strings.Fields(c.Command)
	switch words[0] {
	case "tiers":
		var tiersMS []int64
		for _, w := range words[1:] {
			ms, err := duration(w)
			if err != nil {
				return err
			}
			tiersMS = append(tiersMS, ms)
		}
		if len(tiersMS) == 0 || slices.Contains(tiersMS, 0) {
			return fmt.Errorf("tiers must be followed by lengths")
		}
		r.reset(tiersMS)
		return nil
	case "rules":
		return r.rules(c.Input)
	case "series":
		return r.addSeries(c.Input)
	case "alerts":
		r.printAlerts()
		return nil
	}
	if len(words) < 2 {
		return fmt.Errorf("%s: unknown command, or its time is missing", words[0])
	}
	toMS, err := duration(words[1])
	if err != nil {
		return err
	}
	if r.evaluator == nil {
		return fmt.Errorf("no rules are loaded")
	}
	switch words[0] {
	case "run":
		r.said = nil
		if slices.Contains(words[2:], "conditions") {
			r.said = r.printCondition
		}
		r.runTo(toMS)
		return nil
	case "revise":
		r.said = r.printCondition
		return r.revise(toMS, c.Input)
	}
	return fmt.Errorf("unknown command %s", words[0])
}

func duration(text string) (int64, error) {
	d, err := conf.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q: must be a duration, as 10s or 5m", text)
	}
	return d.MS(), nil
}

func (r *run) rules(text string) error {
	rs, err := alerts.Load(alerts.LoadConfig{TiersMS: r.tiersMS}, alerts.File{Name: "rules.yaml", Data: []byte(text)})
	if err != nil {
		fmt.Fprintln(&r.out, err)
		return nil
	}
	plural := "s"
	if rs.Len() == 1 {
		plural = ""
	}
	fmt.Fprintf(&r.out, "%d rule%s\n", rs.Len(), plural)
	r.said = r.printCondition
	r.load(rs)
	return nil
}

func (r *run) addSeries(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		split := strings.IndexByte(line, ' ')
		if at := strings.LastIndexByte(line, '}'); at > split {
			split = at + 1
		}
		if split < 0 {
			return fmt.Errorf("%q: a series and its values", line)
		}
		s, err := schemas.ParseSeries(line[:split])
		if err != nil {
			return err
		}
		var windows [][]float64
		for _, word := range strings.Fields(line[split:]) {
			if windows, err = appendValues(windows, word); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		v := r.find(s)
		v.windows = append(v.windows, windows...)
	}
	return nil
}

func (r *run) find(s schemas.Series) *values {
	for _, v := range r.series {
		if v.series.String() == s.String() {
			return v
		}
	}
	v := &values{series: s, revision: map[int64]uint32{}}
	r.series = append(r.series, v)
	return v
}

// appendValues appends the windows that a word stands for.
func appendValues(windows [][]float64, word string) ([][]float64, error) {
	if strings.Contains(word, "/") {
		samples, err := parseSequence(strings.ReplaceAll(word, "/", " "))
		if slices.ContainsFunc(samples, math.IsNaN) {
			return nil, fmt.Errorf("%q: must be numbers", word)
		}
		return append(windows, samples), err
	}
	values, err := expand(word)
	for _, v := range values {
		if math.IsNaN(v) {
			windows = append(windows, nil)
		} else {
			windows = append(windows, []float64{v})
		}
	}
	return windows, err
}

func (r *run) printAlerts() {
	var lines []string
	for _, l := range r.alerts {
		a := l.alert
		if a.State == schemas.Inactive {
			continue
		}
		labels := schemas.Series{Metric: a.Rule, Labels: schemas.NewLabels(a.Labels)}
		line := fmt.Sprintf("%s %s value %v since %s", labels, a.State, a.Value, at(a.ActiveMS))
		if ms := a.NoDataSinceMS(); ms != 0 {
			line += ", no data since " + at(ms)
		}
		line += shadowed(a.Shadow) + "\n"
		for _, l := range schemas.NewLabels(a.Annotations) {
			line += fmt.Sprintf("  %s: %s\n", l.Name, l.Value)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	r.out.WriteString(strings.Join(lines, ""))
}

func at(ms int64) string { return conf.Duration(ms * 1_000_000).String() }

// window is the window of a tier that ends at endMS, or nil if it has no samples.
func (v *values) window(smallestMS, tierMS, endMS int64) *schemas.Window {
	w := &schemas.Window{Series: v.series, TierMS: tierMS, StartMS: endMS - tierMS}
	for start := endMS - tierMS; start < endMS; start += smallestMS {
		i := start / smallestMS
		w.Revision += v.revision[start+smallestMS]
		if i >= int64(len(v.windows)) {
			continue
		}
		for k, value := range v.windows[i] {
			w.Add(uint32(start+int64(k)-w.StartMS), value)
		}
	}
	if w.Count == 0 {
		return nil
	}
	return w
}
