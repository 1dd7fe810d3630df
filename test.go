package main

import (
	"context"

	"github.com/weir-metrics/weir/pipelines/operations"
)

type testCommand struct {
	Config string   `help:"Config file whose windows and group labels the rules are tested with; without it, the defaults." short:"c" placeholder:"FILE"`
	JUnit  string   `help:"File to write the outcomes to, as JUnit XML." name:"junit" placeholder:"FILE"`
	Files  []string `arg:"" help:"Files of rule tests, in promtool's grammar; docs/rules.md has an example."`
}

// Run runs the tests and prints which fail, and how.
func (c *testCommand) Run(ctx context.Context) error {
	return operations.RuleTests{Files: c.Files, Config: c.Config, JUnit: c.JUnit}.Run(ctx, stdout)
}
