package main

import "github.com/weir-metrics/weir/pipelines/operations"

type promoteCommand struct {
	Rule string `arg:"" help:"The rule, as group/alert, or alert if its file has one of that name."`
	File string `arg:"" help:"Its rule file."`
}

// Run removes the rule's shadow: true from the file.
func (c *promoteCommand) Run() error {
	return operations.Promote{Rule: c.Rule, File: c.File}.Run(stdout)
}
