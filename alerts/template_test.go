package alerts

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// cost runs f and returns how many bytes it allocated and how long it took.
func cost(f func()) (bytes uint64, took time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, took
}

// maxTemplateCost is what compiling and filling in one text may allocate, bytes.
const maxTemplateCost = 64 << 20

// labelsOf returns as many labels as route accepts, with the longest values.
func manyLabels() map[string]string {
	labels := map[string]string{"host": "web01", "fmt": "%99999999d", "low": "\x00\xff"}
	for i := len(labels); i < 64; i++ {
		labels[fmt.Sprintf("label%02d", i)] = strings.Repeat("\x00é\xff", 256)
	}
	return labels
}

// bombs lists short templates with huge results.
func bombs() []string {
	double := "{{ $x := printf `%99d` 1 }}" + strings.Repeat("{{ $x = print $x $x }}", 100)
	return []string{
		`{{ printf "%200000000d" 1 }}`, `{{ printf "%.200000000f" 1.5 }}`, `{{ printf "%*d" 200000000 1 }}`,
		`{{ printf "%-200000000s|" "a" }}`, `{{ printf "%0200000000d" 1 }}`, `{{ printf "%[2]*[1]d" 1 200000000 }}`, `{{ printf "%.*f" 200000000 1.5 }}`,
		`{{ $f := "%200000000d" }}{{ printf $f 1 }}`, `{{ printf (print "%2" "00000000d") 1 }}`, `{{ 1 | printf "%200000000d" }}`,
		`{{ printf .Labels.fmt 1 }}`, `{{ with printf "%200000000d" 1 }}{{ end }}`, `{{ len (printf "%200000000d" 1) }}`,
		double, double + "{{ $x }}", strings.ReplaceAll(double, "print $x $x", "printf `%s%s` $x $x"), strings.ReplaceAll(double, "print $x $x", "println $x $x"),
		strings.ReplaceAll(double, "print $x $x", "html $x $x `<`"), strings.ReplaceAll(double, "print $x $x", "js $x $x"), strings.ReplaceAll(double, "print $x $x", "urlquery $x $x"),
		strings.ReplaceAll(double, "print $x $x", "printf `%q%q` $x $x"), strings.ReplaceAll(double, "print $x $x", "printf `%[1]s%[1]s` $x"),
		`{{ $x := "aaaaaaaaaaaaaaaa" }}{{ range .Labels }}{{ $x = print $x $x $x $x }}{{ end }}`,
		`{{ range 1000000000 }}{{ end }}`, `{{ $labels := 1000000000 }}{{ range $labels }}{{ end }}`, `{{ $labels = 1000000000 }}{{ range $labels }}{{ end }}`,
		`{{ range $labels := 1000000000 }}{{ end }}`, `{{ with $labels := 1000000000 }}{{ range $labels }}{{ end }}{{ end }}`,
		`{{ with 1000000000 }}{{ range . }}{{ end }}{{ end }}`, `{{ range len .Labels }}{{ end }}`, `{{ range $i, $v := .Value }}{{ end }}`,
		strings.Repeat("{{ range .Labels }}", 20) + "x" + strings.Repeat("{{ end }}", 20),
		`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, `{{ block "a" . }}{{ template "a" . }}{{ end }}`, `{{ template "s" . }}`,
		`{{ define "a" }}x{{ end }}`, `{{ call .Labels.x }}`, `{{ break }}`, `{{ $ := 5 }}{{ printf "%d" 1 }}`,
		strings.Repeat("{{ .Labels }}", 400), strings.Repeat("{{ printf `%+q` .Labels }}", 300), strings.Repeat("{{ if .Labels }}", 400) + strings.Repeat("{{ end }}", 400),
		`{{ ` + strings.Repeat("(", 8000) + "1" + strings.Repeat(")", 8000) + ` }}`, `{{ print ` + strings.Repeat(".Labels ", 2000) + ` }}`,
		strings.Repeat("a", 5<<20), strings.Repeat("{{ 1 }}", 1<<20), "{{ `" + strings.Repeat("%99d", 3000) + "` | printf }}",
		`{{ .Budget }}{{ $.Budget }}{{ print $.Budget }}{{ .Labels.Budget }}`, `{{ print print }}`, `{{ 1e1000000000 }}`, `{{ 0x1p100000 }}`,
		`{{ $a := .Labels }}{{ range $a }}{{ end }}`, `{{ .Labels | printf "%v" | html | js | urlquery | html | js | urlquery }}`,
	}
}

// TestTemplateBombs: whatever a template contains, it is cheap to load and to fill in, and the text is
// bounded.
func TestTemplateBombs(t *testing.T) {
	data := manyLabels()
	for _, text := range bombs() {
		shown := text[:min(len(text), 80)]
		var lt labelTemplate
		var err error
		if bytes, took := cost(func() { lt, err = compileTemplate("s", text, maxTextBytes) }); bytes > maxTemplateCost || took > 10*time.Second {
			t.Errorf("%s: %d bytes and %v to compile", shown, bytes, took)
		}
		if err != nil {
			continue
		}
		filled := ""
		bytes, took := cost(func() { filled = lt.render(templateData{Labels: data, Value: 1, Budget: newBudget()}) })
		if bytes > maxTemplateCost || took > 10*time.Second {
			t.Errorf("%s: %d bytes and %v to fill in", shown, bytes, took)
		}
		if len(filled) > maxTextBytes+100 {
			t.Errorf("%s: became %d bytes", shown, len(filled))
		}
	}
}

// TestTemplateFaultsAreTold: a template that is refused at load has a fault that tells why.
func TestTemplateFaultsAreTold(t *testing.T) {
	for text, want := range map[string]string{
		`{{ printf "%200000000d" 1 }}`:                             "at most 99",
		`{{ if .Labels.x }}{{ printf "%100d" 1 }}{{ end }}`:        "at most 99",
		`{{ printf "%*d" 5 1 }}`:                                   "* and [n]",
		`{{ printf "%[1]d" 5 }}`:                                   "* and [n]",
		`{{ $labels := 5 }}`:                                       "$labels must not be set",
		`{{ range .Labels }}{{ range $labels }}{{ end }}{{ end }}`: "range inside of range",
		`{{ range .Value }}{{ end }}`:                              "range over .Value",
		`{{ template "s" }}`:                                       "template, define and block",
		`{{ define "x" }}y{{ end }}`:                               "template, define and block",
		`{{ call .Value }}`:                                        "call is not part",
		strings.Repeat("{{ 1 }}", 400):                             "more than 500 parts",
		strings.Repeat("a", maxTextBytes+1):                        "is 16385 bytes, must be at most 16384",
	} {
		if _, err := compileTemplate("s", text, maxTextBytes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		`{{ printf "%-99s|%99.99f|%+d|% x" "a" 1.5 2 "b" | len }}`: "207", `{{ "<a>" | html }}`: "&lt;a&gt;",
		`{{ range $k, $v := .Labels }}{{ $k }}={{ $v | toUpper }},{{ end }}`: "host=WEB01,", `{{ print "a" 1 }}{{ println 2 }}`: "a1" + "2\n",
		`{{ urlquery "a b" }}{{ js "'" }}`: `a+b\'`, `{{ with $x := .Labels.host }}{{ $x }}{{ else }}none{{ end }}`: "web01",
		`{{ eq .Labels.host "web01" | not }}{{ and 1 2 }}{{ slice .Labels.host 0 (len .Labels.nosuch) }}`: "false2",
	} {
		lt, err := compileTemplate("s", text, maxTextBytes)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := lt.render(templateData{Labels: map[string]string{"host": "web01"}, Value: 1, Budget: newBudget()}); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestAlertTextsAreBounded: the texts of one alert fit into a record together, even if they are control
// characters, which take six bytes each in JSON.
func TestAlertTextsAreBounded(t *testing.T) {
	annotations := map[string]string{}
	for i := range maxRuleLabels {
		annotations[fmt.Sprintf("a%02d", i)] = "{{ range .Labels }}{{ . }}{{ end }}"
	}
	r := &rule{name: "g/a", alert: "a", annotations: compileTemplates(annotations, maxTextBytes, func(name string, err error) { t.Error(name, err) })}
	set := &labelSet{labels: schemas.NewLabels(map[string]string{"host": strings.Repeat("\x01", 4000), "b": strings.Repeat("\x02", 4000)})}
	var c schemas.Condition
	bytes, took := cost(func() { c = (&Evaluator{}).condition(set, &binding{rule: r, last: outcome{truth: yes}}, "web01", 1) })
	if n := len(schemas.EncodeDoc(&c)); n > 600_000 || bytes > maxTemplateCost || took > 10*time.Second {
		t.Errorf("a record of %d bytes, %d allocated, %v", n, bytes, took)
	}
	if len(c.Annotations) != maxRuleLabels || !strings.Contains(c.Annotations["a31"], "cut") {
		t.Errorf("%d annotations, the last %.100s", len(c.Annotations), c.Annotations["a31"])
	}
}

// TestFailedTemplateStillPages: an alert whose label's template fails goes to the receivers that would have matched the
// right label, with the error in its text.
func TestFailedTemplateStillPages(t *testing.T) {
	rs := load(t, `{alert: a, expr: x > 1, labels: {severity: '{{ if .Labels.host }}{{ slice .Labels.host 0 99 }}{{ end }}'}, annotations: {s: '{{ if .Labels.host }}{{ print .Value | humanize }}{{ end }}', long: '{{ range .Labels }}{{ printf "%s%99d" . 1 }}{{ end }}'}}`)
	labels := map[string]string{"host": "web01"}
	s := schemas.Series{Metric: "x", Labels: schemas.NewLabels(labels)}
	cs := rs.NewEvaluator().Closed(&State{}, "web01", 10_000, 20_000, []schemas.Window{{Series: s, TierMS: 10_000, StartMS: 10_000, Aggregate: schemas.Aggregate{Count: 1, Last: 5}}}, nil)
	if len(cs) != 1 || !cs[0].True {
		t.Fatalf("%+v", cs)
	}
	if got := cs[0].Labels["severity"]; !strings.HasPrefix(got, schemas.TemplateFault) || !strings.Contains(got, "out of range") {
		t.Error(got)
	}
	if got := cs[0].Annotations["s"]; !strings.HasPrefix(got, schemas.TemplateFault) {
		t.Error(got)
	}
}

// FuzzTemplate: no template costs more than the bounds to load or to fill in.
func FuzzTemplate(f *testing.F) {
	for _, text := range bombs() {
		if len(text) <= maxTextBytes {
			f.Add(text)
		}
	}
	data := manyLabels()
	f.Fuzz(func(t *testing.T, text string) {
		bytes, took := cost(func() {
			lt, err := compileTemplate("s", text, maxTextBytes)
			if err != nil {
				return
			}
			labels := maps.Clone(data)
			if got := lt.render(templateData{Labels: labels, Value: 1e300, Budget: newBudget()}); len(got) > maxTextBytes+100 {
				t.Errorf("%q became %d bytes", text, len(got))
			}
			if !maps.Equal(labels, data) {
				t.Errorf("%q changed the labels", text)
			}
		})
		if bytes > maxTemplateCost || took > 20*time.Second {
			t.Errorf("%q: %d bytes, %v", text, bytes, took)
		}
	})
}
