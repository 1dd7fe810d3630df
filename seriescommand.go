package main

import (
	"context"

	"github.com/weir-metrics/weir/pipelines/operations"
)

type seriesCommand struct {
	Retire retireCommand `cmd:"" help:"Tell the rules that series will send no more: what is true of them ends, and nobody misses them."`
}

type retireCommand struct {
	cluster `embed:""`
	Series  string `arg:"" help:"The labels that the series have, in braces, with the one that names their group, such as '{host=\"web01\"}'; or a whole series that has no such label."`
}

// Run retires the series.
func (c *retireCommand) Run(ctx context.Context) error {
	config, err := c.load()
	if err != nil {
		return err
	}
	return operations.Retire{Config: config, Series: c.Series}.Run(ctx, stdout)
}
