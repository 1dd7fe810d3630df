package alerts

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// templateData is what labels and annotations see: {{ .Labels.host }},
// {{ .Value | humanize }}. Prometheus's $labels and $value are the same.
type templateData struct {
	Labels map[string]string // of the series; a label that is not there is ""
	Value  float64
}

const templatePrefix = `{{$labels := .Labels}}{{$value := .Value}}`

// maxTextBytes bounds a rendered label or annotation.
const maxTextBytes = 16 << 10

var errTextTooLong = fmt.Errorf("text is longer than %d bytes", maxTextBytes)

// templateFuncs are those that cannot fail, loop or reach out, beside
// text/template's own (printf, len, eq, and …).
var templateFuncs = template.FuncMap{
	"humanize":           humanize,
	"humanize1024":       humanize1024,
	"humanizePercentage": func(v float64) string { return fmt.Sprintf("%.4g%%", v*100) },
	"humanizeDuration":   humanizeDuration,
	"toUpper":            strings.ToUpper,
	"toLower":            strings.ToLower,
}

// compileTemplate checks text and tries it out on no labels and the value 0.
func compileTemplate(name, text string) (labelTemplate, error) {
	lt := labelTemplate{name: name, text: text}
	if !strings.Contains(text, "{{") {
		return lt, nil
	}
	t, err := template.New(name).Funcs(templateFuncs).Option("missingkey=zero").Parse(templatePrefix + text)
	if err != nil {
		return lt, templateError(err)
	}
	for _, defined := range t.Templates() {
		if defined.Tree != nil {
			if err := checkLoops(defined.Root); err != nil {
				return lt, err
			}
		}
	}
	lt.tmpl = t
	if _, err := lt.execute(templateData{Labels: map[string]string{}}); err != nil {
		return lt, err
	}
	return lt, nil
}

// checkLoops allows range over the labels only: text/template also ranges over
// numbers, and a billion of them is a rule that never returns.
func checkLoops(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Nodes {
			if err := checkLoops(c); err != nil {
				return err
			}
		}
	case *parse.IfNode:
		return errors.Join(checkLoops(n.List), checkLoops(n.ElseList))
	case *parse.WithNode:
		return errors.Join(checkLoops(n.List), checkLoops(n.ElseList))
	case *parse.TemplateNode:
		return errors.New("template, define and block are not part of rule templates")
	case *parse.RangeNode:
		over := ""
		if len(n.Pipe.Cmds) == 1 {
			over = n.Pipe.Cmds[0].String()
		}
		if over != ".Labels" && over != "$labels" {
			return fmt.Errorf("range over %s: rule templates range over .Labels only", over)
		}
		return errors.Join(checkLoops(n.List), checkLoops(n.ElseList))
	}
	return nil
}

func (lt *labelTemplate) execute(data templateData) (string, error) {
	if lt.tmpl == nil {
		return lt.text, nil
	}
	out := limitedText{}
	if err := lt.tmpl.Execute(&out, data); err != nil {
		return "", templateError(err)
	}
	return string(out), nil
}

// render is the text, or what went wrong as text, as Prometheus does: an alert
// with a broken annotation is still an alert.
func (lt *labelTemplate) render(data templateData) string {
	text, err := lt.execute(data)
	if err != nil {
		return "<error expanding template: " + err.Error() + ">"
	}
	return text
}

// templateError hides the prefix that the author did not write.
func templateError(err error) error {
	if errors.Is(err, errTextTooLong) {
		return errTextTooLong
	}
	return errors.New(strings.ReplaceAll(err.Error(), templatePrefix, ""))
}

type limitedText []byte

func (t *limitedText) Write(p []byte) (int, error) {
	if len(*t)+len(p) > maxTextBytes {
		return 0, errTextTooLong
	}
	*t = append(*t, p...)
	return len(p), nil
}

var _ io.Writer = (*limitedText)(nil)

// humanize writes a number with an SI prefix, as Prometheus does: 12.35k, 80.5.
func humanize(v float64) string {
	if v == 0 || !finite(v) {
		return fmt.Sprintf("%.4g", v)
	}
	prefix := ""
	if math.Abs(v) >= 1 {
		for _, p := range []string{"k", "M", "G", "T", "P", "E", "Z", "Y"} {
			if math.Abs(v) < 1000 {
				break
			}
			prefix, v = p, v/1000
		}
		return fmt.Sprintf("%.4g%s", v, prefix)
	}
	for _, p := range []string{"m", "u", "n", "p", "f", "a", "z", "y"} {
		if math.Abs(v) >= 1 {
			break
		}
		prefix, v = p, v*1000
	}
	return fmt.Sprintf("%.4g%s", v, prefix)
}

// humanize1024 is humanize by powers of 1024: bytes.
func humanize1024(v float64) string {
	if math.Abs(v) <= 1 || !finite(v) {
		return fmt.Sprintf("%.4g", v)
	}
	prefix := ""
	for _, p := range []string{"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"} {
		if math.Abs(v) < 1024 {
			break
		}
		prefix, v = p, v/1024
	}
	return fmt.Sprintf("%.4g%s", v, prefix)
}

// humanizeDuration writes seconds as 1h 2m 3s.
func humanizeDuration(v float64) string {
	if !finite(v) || math.Abs(v) > 1e9 {
		return strconv.FormatFloat(v, 'g', 4, 64) + "s"
	}
	if math.Abs(v) < 1 {
		return humanize(v) + "s"
	}
	d := time.Duration(math.Round(v)) * time.Second
	var parts []string
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d.Abs() / unit.d % map[string]time.Duration{"d": math.MaxInt32, "h": 24, "m": 60, "s": 60}[unit.name]; n > 0 {
			parts = append(parts, strconv.Itoa(int(n))+unit.name)
		}
	}
	text := strings.Join(parts, " ")
	if v < 0 {
		return "-" + text
	}
	return text
}

// compileTemplates compiles those of a rule in the order of their names.
// fail is called for each that does not compile.
func compileTemplates(texts map[string]string, fail func(name string, err error)) []labelTemplate {
	names := make([]string, 0, len(texts))
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]labelTemplate, 0, len(names))
	for _, name := range names {
		lt, err := compileTemplate(name, texts[name])
		if err != nil {
			fail(name, err)
			continue
		}
		out = append(out, lt)
	}
	return out
}
