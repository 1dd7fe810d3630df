package main

import (
	"context"
	"os"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/operations"
)

type explainCommand struct {
	recording `embed:""`
	Labels    string   `help:"A series with the labels in question, such as 'cpu.usage{host=\"web01\"}', or just the labels in braces; by default, everything that the rule applies to." name:"series" placeholder:"SERIES"`
	At        string   `help:"The time in question, such as 2026-01-31T08:00:00Z, or 10m for ten minutes ago; by default, now, or the end of the files." placeholder:"TIME"`
	From      string   `help:"Where to begin to play; by default a day before --at, or at the files' first sample. What the rule looks back at is played, too." placeholder:"TIME"`
	Source    string   `help:"Where the data is: tables, which are weir's own, in Cassandra, ScyllaDB or a folder; topic, which is weir's windows in Kafka; or file." enum:"file,tables,topic" default:"tables"`
	Output    string   `help:"Format: text or json." short:"o" enum:"text,json" default:"text"`
	Config    string   `help:"Config file with the windows, group labels, tables and brokers to use; by default, those of the default config." short:"c" placeholder:"FILE"`
	CSVSeries string   `help:"Series of CSV rows that name none, as of weir backtest --series." name:"csv-series" placeholder:"SERIES"`
	Data      string   `help:"Folder of weir's embedded tables." placeholder:"DIR"`
	CQL       []string `help:"Nodes of ScyllaDB or Cassandra." name:"cql" placeholder:"HOST:PORT"`
	Brokers   []string `help:"Kafka's brokers." placeholder:"HOST:PORT"`
	Rules     string   `arg:"" help:"Rule file."`
	Rule      string   `arg:"" help:"The rule: its alert, or group/alert."`
	Files     []string `arg:"" optional:"" help:"Recordings, with --source file: CSV, JSON or line protocol."`
}

// Run prints why the rule fired or did not, and shows its progress on standard error.
func (c *explainCommand) Run(ctx context.Context) error {
	if c.Source == "file" && len(c.Files) == 0 {
		return conf.Faults{{Field: "FILES", Bound: "must be given with --source file: recordings to play"}}
	}
	if c.Source != "file" && len(c.Files) > 0 {
		return conf.Faults{{Field: "FILES", Value: c.Files[0], Bound: "must not be given with --source " + c.Source}}
	}
	precision, format, err := c.parse()
	if err != nil {
		return err
	}
	b := operations.Backtest{Rules: c.Rules, Config: c.Config, From: c.From, To: c.At, JSON: c.Output == "json", Source: c.Source,
		Stored:   pipelines.Overrides{Data: c.Data, CQL: c.CQL, Brokers: c.Brokers},
		Recorded: operations.RecordedFiles{Files: c.Files, Series: c.CSVSeries, Precision: precision, Format: format}}
	return operations.Explain{Backtest: b, Rule: c.Rule, Series: c.Labels}.Run(ctx, stdout, os.Stderr)
}
