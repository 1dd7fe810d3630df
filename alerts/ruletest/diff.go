package ruletest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/schemas"
)

// checkAlerts compares the alerts of a name that fire now with the expected ones.
func (p *play) checkAlerts(c *alertCheck) {
	var got, other []*schemas.Alert // that fire, and that do not
	for _, fingerprint := range slices.Sorted(maps.Keys(p.alerts)) {
		switch a := p.alerts[fingerprint].alert; {
		case a.Labels["alertname"] != c.alertname:
		case a.State == schemas.Firing:
			got = append(got, a)
		default:
			other = append(other, a)
		}
	}
	want := slices.Clone(c.want)
	want = slices.DeleteFunc(want, func(w expectedAlert) bool {
		i := slices.IndexFunc(got, func(a *schemas.Alert) bool { return alike(w, a) == all })
		if i >= 0 {
			got = slices.Delete(got, i, i+1)
		}
		return i >= 0
	})
	if len(want)+len(got) == 0 {
		return
	}
	told := p.differences(want, got, other)
	if n := len(told) - maxTold; n > 0 {
		told = append(told[:maxTold], fmt.Sprintf("and %d more\n", n))
	}
	p.fail(c.line, fmt.Sprintf("alert %s at %s", c.alertname, at(c.timeMS)), strings.Join(told, ""))
}

// maxTold bounds how many differences of an expectation are reported.
const maxTold = 20

// differences describes, one by one, how the alerts that fire differ from the expected ones, and the state of those that
// do not fire.
func (p *play) differences(want []expectedAlert, got, other []*schemas.Alert) []string {
	var told []string
	for len(want) > 0 && len(got) > 0 {
		w, i := want[0], 0
		for k := range got {
			if alike(w, got[k]) > alike(w, got[i]) {
				i = k
			}
		}
		told = append(told, "fires, but with differences:\n"+diffOf(linesOfExpected(w), linesOf(got[i])))
		want, got = want[1:], slices.Delete(got, i, i+1)
	}
	for _, w := range want {
		told = append(told, "is expected and does not fire:\n"+diffOf(linesOfExpected(w), nil))
	}
	for _, a := range got {
		told = append(told, fmt.Sprintf("fires%s and is not expected, with the value %v since %s:\n", shadowed(a.Shadow), a.Value, p.since(a.FiredMS))+diffOf(nil, linesOf(a)))
	}
	for _, a := range other {
		told = append(told, p.stateOf(a))
	}
	return told
}

// all is the likeness of two equal alerts.
const all = math.MaxInt

// alike is how many labels and annotations of an alert are as expected, or all.
func alike(w expectedAlert, a *schemas.Alert) int {
	want, got := linesOfExpected(w), linesOf(a)
	if slices.Equal(want, got) {
		return all
	}
	n := 0
	for _, line := range want {
		if slices.Contains(got, line) {
			n++
		}
	}
	return n
}

func linesOfExpected(w expectedAlert) []string { return linesOfTexts(w.Labels, w.Annotations) }

func linesOf(a *schemas.Alert) []string {
	labels := maps.Clone(a.Labels)
	delete(labels, "alertname")
	return linesOfTexts(labels, a.Annotations)
}

// linesOfTexts has a line for each label and annotation that is not empty, sorted. It is never nil.
func linesOfTexts(labels, annotations map[string]string) []string {
	lines := []string{}
	for i, texts := range []map[string]string{labels, annotations} {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			if text := texts[name]; text != "" {
				lines = append(lines, fmt.Sprintf("%s %s: %q", [...]string{"label", "annotation"}[i], name, text))
			}
		}
	}
	return lines
}

// diffOf has the lines that both have, those that are only in the expected alert (-) and those that are only in the
// actual one (+). Nil stands for no alert, as opposed to one without labels.
func diffOf(want, got []string) string {
	switch {
	case len(want)+len(got) > 0:
	case got == nil:
		return "  - no labels\n"
	default:
		return "  + no labels\n"
	}
	lines := slices.Concat(want, got)
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(keyOf(a), keyOf(b)) })
	var b strings.Builder
	for i, line := range lines {
		isWanted, isGot := slices.Contains(want, line), slices.Contains(got, line)
		switch {
		case isWanted && isGot && slices.Contains(lines[:i], line):
		case isWanted && isGot:
			fmt.Fprintf(&b, "    %s\n", line)
		case isWanted:
			fmt.Fprintf(&b, "  - %s\n", line)
		default:
			fmt.Fprintf(&b, "  + %s\n", line)
		}
	}
	return b.String()
}

// keyOf is what a line of a diff is about; labels come before annotations.
func keyOf(line string) string {
	key, _, _ := strings.Cut(line, ": ")
	if strings.HasPrefix(key, "label") {
		return "0" + key
	}
	return "1" + key
}

// stateOf describes the state of an alert that does not fire.
func (p *play) stateOf(a *schemas.Alert) string {
	name := nameOf(a.Labels["alertname"], a.Labels).String() + shadowed(a.Shadow)
	switch a.State {
	case schemas.Pending:
		return fmt.Sprintf("%s is pending since %s, and fires if it is still true in the window that ends at %s\n", name, p.since(a.ActiveMS), p.since(a.ActiveMS+a.ForMS))
	case schemas.Resolved:
		return fmt.Sprintf("%s is resolved since %s: %s\n", name, p.since(a.ResolvedMS), a.Last.Reason)
	}
	return fmt.Sprintf("%s is inactive since %s: %s\n", name, p.since(a.Last.AtMS), a.Last.Reason)
}

// since writes a time as the time since the test's start.
func (p *play) since(ms int64) string { return at(ms - p.test.startMS) }
