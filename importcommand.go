package main

import "github.com/weir-metrics/weir/pipelines/operations"

type importCommand struct {
	Prometheus importPrometheusCommand `cmd:"" help:"Translate Prometheus's alerting rules, and promtool's tests of them, and tell what has no equivalent."`
}

type importPrometheusCommand struct {
	Into   string   `help:"Folder that the files are written to, under their names; one file goes to standard output by default." placeholder:"DIR"`
	Config string   `help:"Config file whose windows the rules are for; without it, the defaults." short:"c" placeholder:"FILE"`
	Files  []string `arg:"" help:"Rule files, and files of tests."`
}

// Run writes the translation. What was left out is told on standard error, and fails the command.
func (c *importPrometheusCommand) Run() error {
	return operations.ImportPrometheus{Files: c.Files, Config: c.Config, Into: c.Into}.Run(stdout, stderr)
}
