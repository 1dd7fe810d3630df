package main

import (
	"context"
	"fmt"
	"os"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/operations"
)

// cluster tells which brokers a command is for.
type cluster struct {
	Config  string   `help:"Config file; without it, the defaults." short:"c" placeholder:"FILE"`
	Brokers []string `help:"Kafka's brokers; those of the config by default." placeholder:"HOST:PORT"`
}

func (c *cluster) load() (*pipelines.Config, error) {
	config, _, err := pipelines.Load(c.Config)
	if err != nil {
		return nil, err
	}
	if err := config.Override(pipelines.Overrides{Brokers: c.Brokers}); err != nil {
		return nil, err
	}
	if len(config.Brokers) == 0 {
		return nil, conf.Faults{{Field: "--brokers", Bound: "must name Kafka's brokers, or --config a file that does"}}
	}
	return config, nil
}

type reshardCommand struct {
	cluster `embed:""`
	Shards  int32 `help:"The new number of shards, 1 to 10000." required:""`
	Now     bool  `help:"Cut at the next minute instead of at the end of a window of the largest tier: longer windows are kept in two parts, which readers merge."`
	DryRun  bool  `help:"Only print what would be done."`
}

// Run reshards, or continues what it began, until the old shards are empty.
func (c *reshardCommand) Run(ctx context.Context) error {
	if c.Shards < 1 || c.Shards > 10_000 {
		return conf.Faults{{Field: "--shards", Value: fmt.Sprint(c.Shards), Bound: "must be 1 to 10000"}}
	}
	config, err := c.load()
	if err != nil {
		return err
	}
	if c.Config == "" {
		fmt.Fprintln(stderr, "weir: no --config: assuming default tiers and topics; they must match the running weir")
	}
	r := operations.Reshard{Config: config, Shards: c.Shards, Now: c.Now, DryRun: c.DryRun}
	return r.Run(ctx, stdout, os.Stderr)
}

type shardsCommand struct {
	cluster `embed:""`
	Most    float64 `help:"What one shard can carry, samples per second; weir shards warns at 70 %." default:"50000"`
}

// Run prints the shards.
func (c *shardsCommand) Run(ctx context.Context) error {
	if !(c.Most > 0) {
		return conf.Faults{{Field: "--most", Value: fmt.Sprint(c.Most), Bound: "must be above 0"}}
	}
	config, err := c.load()
	if err != nil {
		return err
	}
	return operations.Shards{Config: config, Most: c.Most}.Run(ctx, stdout)
}
