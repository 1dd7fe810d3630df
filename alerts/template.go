package alerts

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/weir-metrics/weir/schemas"
)

// text/template bounds nothing: a width makes gigabytes, print doubles what it is given, a range
// over a number never ends. So that no template can cost more than its bounds, rule templates
// consist only of what is named here:
//
//   - the text is bounded in bytes, its tree in nodes (checkTemplate), and only the listed kinds of
//     nodes are accepted. The only loop is over the labels, and loops are not nested, so no node
//     runs more often than a series has labels;
//   - every function that makes a text is weir's own (templatefuncs.go): it gets the budget of the
//     condition, charges it with the bytes of its arguments before it runs, and returns at most
//     maxTextBytes;
//   - the output goes to a writer that ends the template when it is full.

// Bounds of the labels and annotations of one rule.
const (
	maxRuleLabels      = 32       // of labels, and of annotations
	maxRuleNameBytes   = 128      // of the name of a label or annotation
	maxLabelBytes      = 1 << 10  // of a label: its text as written, and as filled in
	maxTextBytes       = 16 << 10 // of an annotation: its text as written, and as filled in
	maxAllTextBytes    = 64 << 10 // of all annotations of a rule as written, and of all labels and annotations of an alert as filled in
	maxTemplateNodes   = 500
	maxTemplateBudget  = 1 << 20 // bytes that the functions of one condition's templates may be given
	maxTemplateErrText = 400
)

// templateData is what labels and annotations can use: {{ .Labels.host }}, {{ .Value | humanize }}.
// Prometheus's $labels and $value are the same.
type templateData struct {
	Labels map[string]string // of the series; a missing label is ""
	Value  float64
	Budget *budget // for the functions, to which checkTemplate passes it
}

const templatePrefix = `{{$labels := .Labels}}{{$value := .Value}}`

var errTextTooLong = errors.New("text is too long")

// compileTemplate checks text, which may have most bytes and as many when filled in, and tries it
// out on no labels and the value 0.
func compileTemplate(name, text string, most int) (labelTemplate, error) {
	lt := labelTemplate{name: name, text: text, most: most}
	if len(text) > most {
		return lt, fmt.Errorf("is %d bytes, must be at most %d", len(text), most)
	}
	if !strings.Contains(text, "{{") {
		return lt, nil
	}
	t, err := template.New(name).Funcs(templateFuncs).Option("missingkey=zero").Parse(templatePrefix + text)
	if err != nil {
		return lt, templateError(err)
	}
	if len(t.Templates()) > 1 {
		return lt, errTemplateInTemplate
	}
	c := templateCheck{}
	for _, n := range t.Root.Nodes[2:] { // after the prefix's
		c.node(n)
	}
	if c.err != nil {
		return lt, c.err
	}
	lt.tmpl = t
	if _, err := lt.execute(templateData{Labels: map[string]string{}, Budget: newBudget()}); err != nil {
		return lt, err
	}
	return lt, nil
}

// execute returns the filled-in text. A text that is too long is cut, with errTextTooLong.
func (lt *labelTemplate) execute(data templateData) (string, error) {
	if lt.tmpl == nil {
		return lt.text, nil
	}
	out := limitedText{most: lt.most}
	err := lt.tmpl.Execute(&out, data)
	if errors.Is(err, errTextTooLong) && out.full {
		return strings.ToValidUTF8(string(out.text), ""), errTextTooLong
	} else if err != nil {
		return "", templateError(err)
	}
	return string(out.text), nil
}

// render returns the text, or what went wrong as text, as Prometheus does: an alert with a broken
// annotation is still an alert, and one with a broken label goes to every receiver that would take
// it with the right one (schemas.TemplateFault). A text that is too long is cut, with a note.
func (lt *labelTemplate) render(data templateData) string {
	text, err := lt.execute(data)
	switch {
	case errors.Is(err, errTextTooLong) && text != "":
		return fmt.Sprintf("%s… <cut: longer than %d bytes>", text, lt.most)
	case err != nil:
		why := err.Error()
		if len(why) > maxTemplateErrText {
			why = strings.ToValidUTF8(why[:maxTemplateErrText], "") + "…"
		}
		return schemas.TemplateFault + why + ">"
	}
	return text
}

// texts are the labels and annotations of one condition, which must fit into a record.
type texts struct {
	data templateData
	left int // bytes
}

func (t *texts) fill(lt *labelTemplate) string {
	text := lt.render(t.data)
	if len(text) > t.left {
		text = fmt.Sprintf("%s… <cut: the alert's texts are longer than %d bytes>", strings.ToValidUTF8(text[:t.left], ""), maxAllTextBytes)
	}
	t.left -= min(t.left, len(text))
	return text
}

var firstLine = regexp.MustCompile(`^template: (.*?):1:(\d+):`)

// templateError hides what the author did not write: the prefix, also in positions, and the budget.
func templateError(err error) error {
	if errors.Is(err, errTextTooLong) {
		return errTextTooLong
	}
	text := strings.ReplaceAll(strings.ReplaceAll(err.Error(), templatePrefix, ""), " $.Budget", "")
	if m := firstLine.FindStringSubmatch(text); m != nil {
		if column, _ := strconv.Atoi(m[2]); column >= len(templatePrefix) { // a number, or 0
			text = fmt.Sprintf("template: %s:1:%d:%s", m[1], column-len(templatePrefix)+1, text[len(m[0]):])
		}
	}
	return errors.New(text)
}

// limitedText accepts most bytes.
type limitedText struct {
	text []byte
	most int
	full bool
}

func (t *limitedText) Write(p []byte) (int, error) {
	room := t.most - len(t.text)
	t.text = append(t.text, p[:min(room, len(p))]...)
	if len(p) > room {
		t.full = true
		return room, errTextTooLong
	}
	return len(p), nil
}

// compileTemplates compiles the templates of a rule in the order of their names. fail is called for
// each that does not compile.
func compileTemplates(texts map[string]string, most int, fail func(name string, err error)) []labelTemplate {
	names := make([]string, 0, len(texts))
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]labelTemplate, 0, len(names))
	for _, name := range names {
		lt, err := compileTemplate(name, texts[name], most)
		if err != nil {
			fail(name, err)
			continue
		}
		out = append(out, lt)
	}
	return out
}
