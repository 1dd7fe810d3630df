package main

import (
	"context"
	"os"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/operations"
)

type backtestCommand struct {
	recording `embed:""`
	Source    string   `help:"Where the recorded data is: file; tables, which are weir's own, in Cassandra, ScyllaDB or a folder; or topic, which is weir's windows in Kafka." enum:"file,tables,topic" default:"file"`
	From      string   `help:"Start of the report, such as 2026-01-31, 2026-01-31T08:00:00Z, or 7d for a week ago. By default, files are reported from their first sample on, tables and the topic from a day ago on. Earlier data is played, too, so that ranges are full." placeholder:"TIME"`
	To        string   `help:"End of the report; by default the end of the data." placeholder:"TIME"`
	Against   string   `help:"Other rules to compare with, such as the current ones." placeholder:"FILE"`
	Incidents string   `help:"Known incidents; the report then tells which were caught and which alerts were false. docs/rules.md has an example." placeholder:"FILE"`
	Output    string   `help:"Format of the report: text or json." short:"o" enum:"text,json" default:"text"`
	Plot      string   `help:"File to draw the alerts to, as SVG." placeholder:"FILE"`
	Config    string   `help:"Config file with the windows and group labels to use; by default, those of the default config." short:"c" placeholder:"FILE"`
	Series    string   `help:"Series of CSV rows that name none; by default the file's name. {file} stands for the file's name, as in 'cpu.usage{host=\"{file}\"}'."`
	Data      string   `help:"Folder of weir's embedded tables." placeholder:"DIR"`
	CQL       []string `help:"Nodes of ScyllaDB or Cassandra." name:"cql" placeholder:"HOST:PORT"`
	Brokers   []string `help:"Kafka's brokers." placeholder:"HOST:PORT"`
	Rules     string   `arg:"" help:"Rule file."`
	Files     []string `arg:"" optional:"" help:"Recordings: CSV, JSON or line protocol; several are merged by time."`
}

// Run prints what the rules would have done, and shows its progress on standard error.
func (c *backtestCommand) Run(ctx context.Context) error {
	b := operations.Backtest{Rules: c.Rules, Against: c.Against, Config: c.Config, Incidents: c.Incidents,
		From: c.From, To: c.To, JSON: c.Output == "json", Plot: c.Plot}
	b.Source, b.Stored = c.Source, pipelines.Overrides{Data: c.Data, CQL: c.CQL, Brokers: c.Brokers}
	switch {
	case c.Source == "file" && len(c.Files) == 0:
		return conf.Faults{{Field: "FILES", Bound: "must be given: recordings to play"}}
	case c.Source != "file" && len(c.Files) > 0:
		return conf.Faults{{Field: "FILES", Value: c.Files[0], Bound: "must not be given with --source " + c.Source}}
	}
	precision, format, err := c.parse()
	if err != nil {
		return err
	}
	b.Recorded = operations.RecordedFiles{Files: c.Files, Series: c.Series, Precision: precision, Format: format}
	return b.Run(ctx, stdout, os.Stderr)
}
