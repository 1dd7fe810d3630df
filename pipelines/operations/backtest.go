package operations

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/schemas"
)

// Backtest plays recorded data through rules (package backtest).
type Backtest struct {
	Rules     string // a rule file
	Against   string // another rule file, to compare with; "": none
	Config    string // the config file with the windows and group labels to use; "": the default config
	Incidents string // a file of known incidents; "": none
	From, To  string // the report's time, as when reads it; "": as far as there is data
	JSON      bool   // write the report as JSON, not as text
	Plot      string // the file to write a plot to, as SVG; "": none
	// Source is where the data comes from: "file", the files in Recorded; "tables", the tier store of the config; or
	// "topic", the topic windows in the config's Kafka. Stored overrides settings of the config.
	Source   string
	Recorded RecordedFiles
	Stored   pipelines.Overrides

	only func(schemas.Series) bool // which series of the tables to play; nil: all
	toIs string                    // the flag that To is from; "": --to
}

// recorded is where a backtest's data comes from.
type recorded interface {
	// span returns the time that the data covers, ms.
	span(ctx context.Context, say *progress) (fromMS, toMS int64, err error)
	// play plays the data up to the end of the config's time, including what the rules need from before its beginning.
	play(ctx context.Context, to *backtest.Backtest, c *backtest.Config, say *progress) error
	// hints describes what looks odd about the data.
	hints() []string
}

// Run writes the report to out and shows its progress on shown. It returns conf.Faults if a file or a flag is wrong.
func (t Backtest) Run(ctx context.Context, out, shown io.Writer) error {
	c, source, err := t.load()
	if err != nil {
		return err
	}
	b, err := t.play(ctx, c, source, shown)
	if err != nil {
		return err
	}
	r := b.Report()
	if err := t.plot(b, r); err != nil {
		return err
	}
	if !t.JSON {
		return r.WriteText(out)
	}
	return writeJSON(out, r)
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// play plays the data of the source up to the end of the report's time, which it sets in c.
func (t Backtest) play(ctx context.Context, c *backtest.Config, source recorded, shown io.Writer) (*backtest.Backtest, error) {
	say := &progress{out: terminal.NewProgress(shown), began: time.Now()}
	var err error
	if c.FromMS, c.ToMS, err = source.span(ctx, say); err != nil {
		say.out.Clear()
		return nil, err
	}
	if err := t.bound(c); err != nil {
		return nil, err
	}
	b := backtest.New(*c)
	if t.Plot != "" {
		b.Draw()
	}
	if err := source.play(ctx, b, c, say); err != nil {
		say.out.Clear()
		return nil, err
	}
	b.AdvanceTo(c.ToMS)
	say.end(c)
	for _, hint := range source.hints() {
		fmt.Fprintln(shown, hint)
	}
	return b, nil
}

// load reads the config, the rules and the incidents. The error is conf.Faults, with the faults of all of them.
func (t Backtest) load() (*backtest.Config, recorded, error) {
	config, err := RuleTests{Config: t.Config}.config()
	if err == nil {
		err = config.Override(t.Stored)
	}
	if err != nil {
		return nil, nil, err
	}
	c := &backtest.Config{Windows: config.Windows}
	var faults error
	c.Rules, err = readRuleFile(t.Rules, config)
	faults = conf.Join(faults, err)
	if t.Against != "" {
		c.Against, err = readRuleFile(t.Against, config)
		faults = conf.Join(faults, err)
	}
	if t.Incidents != "" {
		text, err := conf.ReadFile(t.Incidents, conf.MaxRulesBytes)
		if err != nil {
			faults = conf.Join(faults, conf.Unreadable(t.Incidents, err))
		} else if c.Incidents, err = backtest.ParseIncidents(t.Incidents, text); err != nil {
			faults = conf.Join(faults, err)
		}
	}
	source, err := t.source(config)
	return c, source, conf.Join(faults, err)
}

func (t Backtest) source(config *pipelines.Config) (recorded, error) {
	switch t.Source {
	case "tables":
		return &tablesSource{config: config, only: t.only}, nil
	case "topic":
		if len(config.Brokers) == 0 {
			return nil, conf.Faults{{Field: "--brokers", Bound: "must be given, or a --config that names brokers"}}
		}
		return &topicSource{kafka: connect.New(config.Brokers, config.Kafka)}, nil
	}
	return &fileSource{RecordedFiles: t.Recorded, tier: config.Windows.Tiers[0]}, nil
}

func readRuleFile(name string, config *pipelines.Config) (*alerts.RuleSet, error) {
	text, err := conf.ReadFile(name, conf.MaxRulesBytes)
	if err != nil {
		return nil, conf.Unreadable(name, err)
	}
	return alerts.Load(config.RuleConfig(), alerts.File{Name: name, Data: text})
}

// bound sets the time to what was asked for.
func (t Backtest) bound(c *backtest.Config) error {
	now := time.Now()
	var faults conf.Faults
	toIs := cmp.Or(t.toIs, "--to")
	for _, f := range []struct {
		flag, text string
		to         *int64
	}{{"--from", t.From, &c.FromMS}, {toIs, t.To, &c.ToMS}} {
		if f.text == "" {
			continue
		}
		ms, err := when(f.text, now)
		if err != nil {
			faults = append(faults, conf.Fault{Field: f.flag, Value: f.text, Bound: err.Error()})
			continue
		}
		*f.to = ms
	}
	if faults == nil && c.ToMS <= c.FromMS {
		faults = append(faults, conf.Fault{Field: toIs, Value: t.To, Bound: fmt.Sprintf("must be after the beginning, %s", utc(c.FromMS))})
	}
	if faults == nil {
		return nil
	}
	return faults
}

// when reads a time, or how long ago it was, such as 7d.
func when(text string, now time.Time) (int64, error) {
	if ago, err := conf.ParseDuration(strings.TrimPrefix(text, "-")); err == nil && ago >= 0 {
		return now.Add(-ago.Std()).UnixMilli(), nil
	}
	ms, err := backtest.ParseTime(text)
	if err != nil {
		err = fmt.Errorf("%w, or how long ago, such as 7d", err)
	}
	return ms, err
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateTime) }

// plot writes the plot, if it was asked for.
func (t Backtest) plot(b *backtest.Backtest, r *backtest.Report) error {
	if t.Plot == "" {
		return nil
	}
	var s strings.Builder
	if err := b.Plot(r, &s); err != nil {
		return err
	}
	if err := os.WriteFile(t.Plot, []byte(s.String()), 0o644); err != nil {
		return conf.Faults{{Field: "--plot", Value: t.Plot, Bound: "must be writable: " + conf.ReadFault(err)}}
	}
	return nil
}

// progress shows the progress of a backtest.
type progress struct {
	out     *terminal.Progress
	began   time.Time
	drawn   time.Time
	played  time.Time // when playing began
	fromMS  int64     // time of the first sample that was played
	samples int64
	what    string // what samples counts: samples or windows
}

// reading shows which part of the data has been read.
func (p *progress) reading(part float64) {
	if now := time.Now(); now.Sub(p.drawn) >= barEvery {
		p.drawn = now
		p.out.Draw(fmt.Sprintf("%s %3.0f %%  reading", terminal.Bar(part), 100*part))
	}
}

// playing shows up to which time the data has been played.
func (p *progress) playing(n int, fromMS, atMS, toMS int64) {
	now := time.Now()
	if p.samples += int64(n); p.played.IsZero() {
		p.played, p.fromMS = now, fromMS
	}
	if now.Sub(p.drawn) < barEvery {
		return
	}
	p.drawn = now
	part := max(0, min(1, float64(atMS-fromMS)/float64(toMS-fromMS)))
	p.out.Draw(fmt.Sprintf("%s %3.0f %%  up to %s  %d %s  %s x real time", terminal.Bar(part), 100*part, utc(atMS), p.samples, p.what, p.speed(atMS-fromMS, now)))
}

// speed returns how many times faster than real time the data is played.
func (p *progress) speed(ms int64, now time.Time) string {
	took := now.Sub(p.played)
	if p.played.IsZero() || took <= 0 {
		return "?"
	}
	return fmt.Sprintf("%.0f", float64(ms)/float64(took.Microseconds())*1000)
}

func (p *progress) end(c *backtest.Config) {
	now, ms := time.Now(), max(0, c.ToMS-p.fromMS)
	p.out.End(fmt.Sprintf("%d %s of %s in %s: %s x real time", p.samples, p.what, conf.Duration(ms/1000*int64(time.Second)),
		now.Sub(p.began).Round(10*time.Millisecond), p.speed(ms, now)))
}
