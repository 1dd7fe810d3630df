package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/operations"
	"github.com/weir-metrics/weir/schemas/formats"
)

// recording is the flags that tell how to read files of samples.
type recording struct {
	Precision string `help:"Unit of line protocol's times: ns, us, ms, s." default:"ns"`
	Format    string `help:"What the files hold: csv, line or json; their first lines tell by default."`
}

// parse returns what the flags name. The error is conf.Faults.
func (r *recording) parse() (formats.Precision, *formats.Format, error) {
	var faults conf.Faults
	precision, err := formats.ParsePrecision(r.Precision)
	if err != nil {
		faults = append(faults, conf.Fault{Field: "--precision", Bound: err.Error()})
	}
	format, err := formats.ByName(r.Format)
	if err != nil {
		faults = append(faults, conf.Fault{Field: "--format", Bound: err.Error()})
	}
	if faults != nil {
		return precision, nil, faults
	}
	return precision, format, nil
}

type replayCommand struct {
	destination `embed:""`
	recording   `embed:""`
	Speed       float64  `help:"How much faster than recorded: 1 is as recorded, 0 as fast as possible." default:"0"`
	Now         bool     `help:"Shift the times so that the recording ends now or, with --speed, when its last sample is sent."`
	Series      string   `help:"Series of CSV rows that name none; the file's name by default."`
	Files       []string `arg:"" help:"Recordings; several are merged by time."`
}

// Run sends the files and draws a bar on standard error.
func (c *replayCommand) Run(ctx context.Context) error {
	precision, format, err := c.parse()
	if err != nil {
		return err
	}
	if !(c.Speed >= 0) {
		return conf.Faults{{Field: "--speed", Value: fmt.Sprint(c.Speed), Bound: "must be at least 0"}}
	}
	r := operations.Replay{RecordedFiles: operations.RecordedFiles{Files: c.Files, Series: c.Series, Precision: precision, Format: format}, Speed: c.Speed, Now: c.Now}
	to, err := c.pipeline()
	if err != nil {
		return err
	}
	return r.Run(ctx, to, os.Stderr)
}

type foldCommand struct {
	recording `embed:""`
	Tiers     []conf.Duration `help:"Lengths of the windows, each a multiple of the one before." default:"10s,1m,1h"`
	Grace     conf.Duration   `help:"How long a window waits for late samples." default:"2s"`
	Files     []string        `arg:"" optional:"" help:"CSV: series,timestamp_ms,value; or line protocol, or JSON. Standard input by default, or for -."`
}

// Run prints the windows. It fails if lines are no samples, and names them.
func (c *foldCommand) Run() error {
	windows, err := operations.FoldConfig(c.Tiers, c.Grace)
	if err != nil {
		return err
	}
	fold := operations.NewFold(windows)
	if fold.Precision, fold.Format, err = c.parse(); err != nil {
		return err
	}
	if len(c.Files) == 0 {
		c.Files = []string{"-"}
	}
	for _, name := range c.Files {
		if err := readFile(name, fold.Read); err != nil {
			return err
		}
	}
	if err := fold.Write(stdout); err != nil {
		return err
	}
	for _, hint := range fold.Hints() {
		fmt.Fprintln(stderr, "weir:", hint)
	}
	return fold.Err()
}

// readFile calls read with the file, or with standard input for the name -.
func readFile(name string, read func(name string, r io.Reader) error) error {
	if name == "-" {
		return read("standard input", os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return read(name, f)
}
