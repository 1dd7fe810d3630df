package backtest

import (
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// Sizes in the plot, in pixels.
const (
	plotLeft   = 170 // for the names of rules
	plotWidth  = 780
	plotRight  = 20
	lineHeight = 80 // of the line of a series
	barHeight  = 14 // of the row of a rule
	gap        = 34 // between panels, for the title
	axisHeight = 30
)

// MaxPanels is the largest number of series that are drawn, of those with alerts or incidents, in the order of their names.
const MaxPanels = 24

// trace holds the smallest and the largest value of a series in each part of the report's time.
type trace struct {
	series schemas.Series
	tierMS int64 // tier of the windows that are drawn: the smallest that was seen
	lo, hi []float64
}

// Draw makes the backtest keep what Plot needs. Call it before you pass any data.
func (b *Backtest) Draw() { b.points = plotWidth / 2 }

func (b *Backtest) draw(w *schemas.Window) {
	if w.StartMS < b.config.FromMS || w.StartMS >= b.config.ToMS || w.Count == 0 {
		return
	}
	name := w.Series.String()
	t := b.traces[name]
	if t == nil || t.tierMS > w.TierMS {
		t = &trace{series: w.Series, tierMS: w.TierMS, lo: make([]float64, b.points), hi: make([]float64, b.points)}
		for i := range t.lo {
			t.lo[i], t.hi[i] = math.Inf(1), math.Inf(-1)
		}
		b.traces[name] = t
	}
	if t.tierMS == w.TierMS {
		i := int(float64(w.StartMS-b.config.FromMS) / float64(b.config.ToMS-b.config.FromMS) * float64(b.points))
		t.lo[i], t.hi[i] = min(t.lo[i], w.Min), max(t.hi[i], w.Max)
	}
}

// panel is a series, with the rules and alerts that are drawn below its line.
type panel struct {
	*trace
	rules  []string
	alerts [2]map[string][]*Alert // by rule; [1]: alerts of the other rules
}

// Plot writes the report as SVG. For each series with alerts or incidents, it draws a line, the incidents as bands, and a row
// per rule with its alerts; below these, in grey, are the alerts of the rules compared with.
func (b *Backtest) Plot(r *Report, w io.Writer) error {
	panels := b.panels(r)
	more := 0
	if len(panels) > MaxPanels {
		more = len(panels) - MaxPanels
		panels = panels[:MaxPanels]
	}
	height := axisHeight
	for _, p := range panels {
		height += gap + lineHeight + barHeight*len(p.rules)
	}
	if len(panels) == 0 || more > 0 {
		height += gap
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="11">`+"\n",
		plotLeft+plotWidth+plotRight, height)
	s.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	y := 0
	for _, p := range panels {
		y += gap
		b.drawPanel(&s, p, y)
		y += lineHeight + barHeight*len(p.rules)
	}
	switch {
	case len(panels) == 0:
		y += gap
		text(&s, plotLeft, y-12, "start", "#222", "no alerts")
	case more > 0:
		y += gap
		text(&s, plotLeft, y-12, "start", "#222", fmt.Sprintf("and %d more series", more))
	}
	b.drawAxis(&s, y)
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

// panels returns the series of which a rule fired that reads them, and the series of incidents.
func (b *Backtest) panels(r *Report) []panel {
	var before []Alert
	reads := map[string][]string{}
	for _, x := range b.config.Rules.Reads() {
		reads[x.Rule] = x.Metrics
	}
	if b.config.Against != nil {
		before = b.fired(1)
		for _, x := range b.config.Against.Reads() {
			reads[x.Rule] = append(slices.Clip(reads[x.Rule]), x.Metrics...)
		}
	}
	var all []panel
	for _, name := range slices.Sorted(maps.Keys(b.traces)) {
		p := panel{trace: b.traces[name]}
		for k, fired := range [2][]Alert{r.Alerts, before} {
			p.alerts[k] = map[string][]*Alert{}
			for i := range fired {
				a := &fired[i]
				if slices.Contains(reads[a.Rule], p.series.Metric) && p.has(a) {
					p.alerts[k][a.Rule] = append(p.alerts[k][a.Rule], a)
				}
			}
		}
		rules := maps.Clone(p.alerts[0])
		maps.Copy(rules, p.alerts[1])
		p.rules = slices.Sorted(maps.Keys(rules))
		if len(p.rules) > 0 || slices.ContainsFunc(b.config.Incidents, p.about) {
			all = append(all, p)
		}
	}
	return all
}

// has reports whether an alert belongs to the series: it has all of its labels.
func (p *panel) has(a *Alert) bool {
	for _, l := range p.series.Labels {
		if a.Labels[l.Name] != l.Value {
			return false
		}
	}
	return true
}

// about reports whether an incident concerns the series.
func (p *panel) about(in Incident) bool { return in.isOf(p.series) }

func (b *Backtest) drawPanel(s *strings.Builder, p panel, y int) {
	text(s, plotLeft, y-6, "start", "#222", p.series.String())
	height := lineHeight + barHeight*len(p.rules)
	for i := range b.config.Incidents {
		in := &b.config.Incidents[i]
		if p.about(*in) {
			from, to := b.x(in.FromMS), b.x(in.ToMS)
			if to > from {
				rect(s, from, float64(y), to-from, float64(height), "#fde9c8", in.Name)
			}
		}
	}
	p.drawLine(s, y)
	for i, rule := range p.rules {
		top := y + lineHeight + barHeight*i
		text(s, plotLeft-8, top+barHeight-4, "end", "#444", cutName(rule))
		h := float64(barHeight - 4)
		if b.config.Against != nil {
			h = 5
			for _, a := range p.alerts[1][rule] {
				rect(s, b.x(a.FiredMS), float64(top+8), b.x(b.end(a))-b.x(a.FiredMS), 4, "#aaa", "before: "+title(a))
			}
		}
		for _, a := range p.alerts[0][rule] {
			rect(s, b.x(a.FiredMS), float64(top+2), b.x(b.end(a))-b.x(a.FiredMS), h, "#c62828", title(a)+" from "+clock(a.FiredMS))
		}
	}
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>`+"\n", plotLeft, y, plotWidth, height)
}

// drawLine draws the values, with the smallest at the bottom and the largest at the top.
func (p *panel) drawLine(s *strings.Builder, y int) {
	lo, hi := slices.Min(p.lo), slices.Max(p.hi)
	if lo > hi {
		return
	}
	text(s, plotLeft-8, y+10, "end", "#888", number(hi))
	text(s, plotLeft-8, y+lineHeight-2, "end", "#888", number(lo))
	span := hi - lo
	if !(span > 0) || math.IsInf(span, 0) {
		span = 1
	}
	at := func(v float64) int { return y + lineHeight - 4 - int((v-lo)/span*(lineHeight-8)+0.5) }
	step := plotWidth / len(p.lo)
	s.WriteString(`<path fill="none" stroke="#1565c0" d="`)
	pen := "M"
	for i := range p.lo {
		if p.lo[i] > p.hi[i] {
			continue
		}
		x := plotLeft + i*step
		fmt.Fprintf(s, "%s%d %d", pen, x, at(p.hi[i]))
		if bottom := at(p.lo[i]); bottom != at(p.hi[i]) {
			fmt.Fprintf(s, "V%d", bottom)
		}
		pen = "L"
	}
	s.WriteString(`"/>` + "\n")
}

// x returns the x coordinate of a time.
func (b *Backtest) x(ms int64) float64 {
	part := float64(ms-b.config.FromMS) / float64(b.config.ToMS-b.config.FromMS)
	return plotLeft + plotWidth*max(0, min(1, part))
}

// ticks lists the possible distances between the axis's marks.
var ticks = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour, 364 * 24 * time.Hour}

func (b *Backtest) drawAxis(s *strings.Builder, y int) {
	const most = 10 // marks
	spanMS := b.config.ToMS - b.config.FromMS
	step := spanMS / most // for a time that is too long for any of the ticks
	for _, t := range slices.Backward(ticks) {
		if spanMS/t.Milliseconds() > most {
			break
		}
		step = t.Milliseconds()
	}
	step = max(step, 1)
	layout := "01-02 15:04"
	if step >= (24 * time.Hour).Milliseconds() {
		layout = time.DateOnly
	}
	first := (b.config.FromMS + step - 1) / step * step
	for ms := first; ms < b.config.ToMS; ms += step {
		fmt.Fprintf(s, `<path stroke="#bbb" d="M%.1f %dv5"/>`, b.x(ms), y)
		text(s, int(b.x(ms)), y+18, "middle", "#444", time.UnixMilli(ms).UTC().Format(layout))
	}
}

// cutName shortens a rule's name so that it fits next to its row.
func cutName(name string) string {
	const most = 26
	if r := []rune(name); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return name
}

func text(s *strings.Builder, x, y int, anchor, color, t string) {
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, html.EscapeString(printable(t)))
}

// rect draws a bar with a tooltip. It is at least 2 pixels wide, so that it is visible.
func rect(s *strings.Builder, x, y, width, height float64, color, tip string) {
	fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s</title></rect>`+"\n",
		x, y, max(2, width), height, color, html.EscapeString(printable(tip)))
}

// printable removes the characters that XML cannot contain.
func printable(t string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(t, "\uFFFD"))
}
