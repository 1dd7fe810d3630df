package main

import "github.com/weir-metrics/weir/pipelines/operations"

type importCommand struct {
	Prometheus importPrometheusCommand `cmd:"" help:"Translate Prometheus's alerting rules and their promtool tests, and report what has no equivalent."`
}

type importPrometheusCommand struct {
	Into   string   `help:"Folder to write the files to, under their own names; without it, a single file goes to standard output." placeholder:"DIR"`
	Config string   `help:"Config file whose windows the rules are for; without it, the defaults." short:"c" placeholder:"FILE"`
	Files  []string `arg:"" help:"Rule files, and files of tests."`
}

// Run writes the translation. What it leaves out is reported on standard error, and fails the command.
func (c *importPrometheusCommand) Run() error {
	return operations.ImportPrometheus{Files: c.Files, Config: c.Config, Into: c.Into}.Run(stdout, stderr)
}
