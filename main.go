// Command weir keeps windows of metrics and raises alerts on them; see README.md.
//
// This file owns the flags, the signals and the exit code: 0 done, 1 failed, 2 wrong usage or config.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	_ "time/tzdata" // rules name time zones, and a machine need not have any

	"github.com/alecthomas/kong"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/operations"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/plain"
)

// stdout and stderr are all that weir prints to; both escape what could control a terminal, as names
// come from others.
var (
	stdout = plain.Writer(os.Stdout)
	stderr = plain.Writer(os.Stderr)
)

// version is set by the linker: -ldflags "-X main.version=v0.1.0".
var version = "dev"

const (
	exitFailed = 1
	exitUsage  = 2
	// exitSignal is what shells return for a program that an interrupt ended.
	exitSignal = 130
)

// cli is the command line.
type cli struct {
	LogLevel  slog.Level `help:"Lowest level that is logged: debug, info, warn, error." default:"info"`
	LogFormat string     `help:"Format of the log, on standard error: text or json." enum:"text,json" default:"text"`

	Run      runCommand      `cmd:"" help:"Run weir: all roles, or some."`
	Agent    agentCommand    `cmd:"" help:"Read this machine's metrics and send them to a gateway or to Kafka."`
	Replay   replayCommand   `cmd:"" help:"Send recorded samples: CSV, JSON or line protocol."`
	Fold     foldCommand     `cmd:"" help:"Run the window code over recorded samples and print the windows."`
	Top      topCommand      `cmd:"" help:"Print the sources that send the most, and those over a limit or with a wrong clock."`
	Reshard  reshardCommand  `cmd:"" help:"Change the number of shards while weir runs; run it again to continue."`
	Shards   shardsCommand   `cmd:"" help:"Print each shard's owner, lag, series, rate and skew."`
	Series   seriesCommand   `cmd:"" help:"Retire series."`
	Check    checkCommand    `cmd:"" help:"Print every fault of config and rule files."`
	Test     testCommand     `cmd:"" help:"Run unit tests of rules: given samples, expected alerts and windows."`
	Backtest backtestCommand `cmd:"" help:"Report what rules would have done with recorded data, and compare them with other rules."`
	Explain  explainCommand  `cmd:"" help:"Show why a rule fired, or did not, at a time: the windows that it read, and what it made of them."`
	Import   importCommand   `cmd:"" help:"Translate rules of other systems."`
	Promote  promoteCommand  `cmd:"" help:"Make a shadow rule page: removes its shadow: true from its file."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	parser := kong.Must(&c,
		kong.Name("weir"),
		kong.Description("Keeps windows of metrics and raises alerts on them."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"http": pipelines.DefaultHTTP},
		kong.Writers(stdout, stderr),
		kong.KindMapper(reflect.Int, kong.MapperFunc(decimal)),
		kong.KindMapper(reflect.Float64, kong.MapperFunc(decimal)),
	)
	if len(args) == 1 && args[0] == "help" {
		args = []string{"--help"}
	}
	command, err := parser.Parse(joinNegative(args))
	if err != nil {
		fmt.Fprintf(stderr, "weir: %s\nSee weir --help.\n", conf.Mask(err.Error()))
		return exitUsage
	}
	ctx, stop := interruptible()
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	shown := newOutput()
	command.Bind(shown, newLog(shown.log, c.LogFormat, c.LogLevel))
	return exitCode(command.Run())
}

// decimal reads a flag's number as weir reads numbers everywhere: 1_000 and 0x1p4 are not numbers.
func decimal(ctx *kong.DecodeContext, to reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("number", &text); err != nil {
		return err
	}
	v, err := formats.ParseNumber(text)
	switch {
	case err != nil:
		return err
	case to.CanFloat():
		to.SetFloat(v)
	case v != math.Trunc(v) || math.Abs(v) > 1<<53:
		return fmt.Errorf("value %q: must be a whole number", text)
	default:
		to.SetInt(int64(v))
	}
	return nil
}

var negative = regexp.MustCompile(`^-[0-9.]|^-(?i:inf|nan)`)

// joinNegative makes --flag -1 mean --flag=-1: the value is usually wrong, and an error about it helps
// more than one about an unknown flag -1.
func joinNegative(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(joined, args[i:]...)
		}
		if i+1 < len(args) && strings.HasPrefix(args[i], "--") && !strings.Contains(args[i], "=") && negative.MatchString(args[i+1]) {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}

// exitCode prints err, if any, and returns the process's exit code.
func exitCode(err error) int {
	var faults conf.Faults
	switch {
	case err == nil:
		return 0
	case errors.As(err, &faults):
		fmt.Fprintln(stderr, faults)
		return exitUsage
	default:
		fmt.Fprintln(stderr, "weir:", conf.Mask(err.Error()))
		return exitFailed
	}
}

// interruptible returns a context that the first SIGINT or SIGTERM ends. The second ends the process
// at once: the next start does the rest.
func interruptible() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitSignal)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// hangups returns the SIGHUPs that ask for a reload. A SIGHUP because the terminal from which weir
// was started is gone ends the returned context instead.
func hangups(ctx context.Context) (ends context.Context, reload <-chan os.Signal, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, asked := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	interactive := hasTerminal()
	go func() {
		for s := range signals {
			if interactive && !hasTerminal() {
				cancel()
				return
			}
			select {
			case asked <- s:
			default: // one is waiting already
			}
		}
	}()
	return ctx, asked, func() { signal.Stop(signals); close(signals); cancel() }
}

// hasTerminal reports whether a terminal controls this process.
func hasTerminal() bool {
	f, err := os.Open("/dev/tty")
	if err == nil {
		_ = f.Close() // opening it was the test
	}
	return err == nil
}

// output is where the log and what a running weir prints go.
type output struct {
	log, out io.Writer
	screen   *terminal.Terminal // that the log goes to, or nil
}

func newOutput() output {
	o := output{log: stderr, out: stdout}
	if terminal.IsTerminal(os.Stderr) {
		o.screen = terminal.New(os.Stderr)
		o.log = o.screen.Over(stderr)
		if terminal.IsTerminal(os.Stdout) {
			o.out = o.screen.Over(stdout)
		}
	}
	return o
}

func newLog(out io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: maskAttr}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// maskAttr masks secrets in what is logged: errors of libraries quote what they were given.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(conf.Mask(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case *slog.Source:
		case error:
			a.Value = slog.StringValue(conf.Mask(v.Error()))
		case []string, map[string]string, fmt.Stringer:
			a.Value = slog.StringValue(conf.Mask(fmt.Sprint(v)))
		}
	}
	return a
}

type runCommand struct {
	Config  string   `help:"Config file; without it, the defaults." short:"c" placeholder:"FILE"`
	Roles   string   `help:"Roles to run, such as route,window; all by default." placeholder:"LIST"`
	Data    string   `help:"Folder for what this process keeps." placeholder:"DIR"`
	Brokers []string `help:"Kafka's brokers; without it, an embedded one." placeholder:"HOST:PORT"`
	CQL     []string `help:"Nodes of ScyllaDB or Cassandra; without it, embedded tiers." name:"cql" placeholder:"HOST:PORT"`
	HTTP    string   `help:"Address of the page and the API, ${http} by default." name:"http" placeholder:"HOST:PORT"`
}

// Run starts weir and returns when it has stopped.
func (c *runCommand) Run(ctx context.Context, log *slog.Logger, to output) error {
	roles, err := pipelines.ParseRoles(c.Roles)
	if err != nil {
		return conf.Faults{{Field: "--roles", Bound: err.Error()}}
	}
	config, rules, err := pipelines.Load(c.Config)
	if err != nil {
		return err
	}
	if err := config.Override(pipelines.Overrides{HTTP: c.HTTP, Data: c.Data, Brokers: c.Brokers, CQL: c.CQL}); err != nil {
		return err
	}
	syscall.Umask(0o077) // what weir keeps is for its owner only
	for _, w := range config.Warnings() {
		log.Warn("config: " + w.Error())
	}
	ctx, reload, stop := hangups(ctx)
	defer stop()
	p := pipelines.Process{Config: config, Rules: rules, File: c.Config, Reload: reload, Roles: roles, Out: to.out, Log: log, Terminal: to.screen}
	return p.Run(ctx)
}

// login is how commands authenticate to a listener. Secrets come from files or the environment, as
// everybody on a machine can read a command line.
type login struct {
	Username     string `help:"User for basic auth; the password comes from --password-file or $WEIR_PASSWORD." placeholder:"NAME"`
	PasswordFile string `help:"File with the password." placeholder:"FILE"`
	TokenFile    string `help:"File with a bearer token; without it, $WEIR_TOKEN, if set." placeholder:"FILE"`
	CAFile       string `help:"CAs that the listener's certificate is checked against; the system's by default." name:"ca-file" placeholder:"FILE"`
	CertFile     string `help:"Client certificate." placeholder:"FILE"`
	KeyFile      string `help:"Key of the client certificate." placeholder:"FILE"`
}

func (l login) pipeline() operations.Login {
	secret := func(file, variable string) conf.Secret {
		switch {
		case file != "":
			return conf.SecretFile(file)
		case os.Getenv(variable) != "":
			return conf.SecretEnv(variable)
		}
		return conf.Secret{}
	}
	to := operations.Login{Username: l.Username, CAFile: l.CAFile, CertFile: l.CertFile, KeyFile: l.KeyFile}
	if l.Username != "" {
		to.Password = secret(l.PasswordFile, "WEIR_PASSWORD")
	} else {
		to.Token = secret(l.TokenFile, "WEIR_TOKEN")
	}
	return to
}

// destination is where samples are sent.
type destination struct {
	login   `embed:""`
	To      string   `help:"Gateway that takes the samples, http://${http} by default." placeholder:"URL"`
	Brokers []string `help:"Kafka's brokers, instead of a gateway." placeholder:"HOST:PORT"`
	Config  string   `help:"Config file: its section kafka says how to reach the brokers, and its brokers are used if --brokers is not given." short:"c" placeholder:"FILE"`
}

// pipeline returns the destination, a gateway by default. It returns conf.Faults if both a gateway and
// brokers are given.
func (d destination) pipeline() (operations.Destination, error) {
	to := operations.Destination{Gateway: d.To, Login: d.login.pipeline(), Brokers: d.Brokers}
	if d.Config != "" {
		config, _, err := pipelines.Load(d.Config)
		if err != nil {
			return to, err
		}
		if to.Kafka = config.Kafka; len(to.Brokers) == 0 {
			to.Brokers = config.Brokers
		}
		if len(to.Brokers) == 0 {
			return to, conf.Faults{{Field: "--config", Value: d.Config, Bound: "must name Kafka's brokers, or --brokers must"}}
		}
	}
	switch {
	case d.To != "" && len(to.Brokers) > 0:
		return to, conf.Faults{{Field: "--to", Value: d.To, Bound: "must not be given together with --brokers or --config: samples go either to a gateway or to Kafka"}}
	case d.To == "":
		to.Gateway = "http://" + pipelines.DefaultHTTP
	}
	return to, to.Validate()
}

type agentCommand struct {
	destination `embed:""`
	Interval    conf.Duration `help:"How often the machine is read." default:"5s"`
	Host        string        `help:"Value of the label host; the machine's own name by default."`
}

// Run reads and sends until interrupted.
func (c *agentCommand) Run(ctx context.Context, log *slog.Logger) error {
	config := pipelines.Default().Agent
	config.Interval, config.Host = c.Interval, c.Host
	to, err := c.pipeline()
	if err != nil {
		return err
	}
	return operations.RunAgent(ctx, config, to, log)
}

type topCommand struct {
	login `embed:""`
	URL   []string `help:"Processes to ask, repeated or separated by commas; each knows the shards that it owns." name:"url" default:"http://${http}" placeholder:"URL"`
	By    string   `help:"Order: rate (samples per second) or series." enum:"rate,series" default:"rate"`
	Rows  int      `help:"Most rows of a table, 1 to 1000." short:"n" default:"20"`
}

// Run prints the tables.
func (c *topCommand) Run(ctx context.Context) error {
	if c.Rows < 1 || c.Rows > 1000 {
		return conf.Faults{{Field: "--rows", Value: fmt.Sprint(c.Rows), Bound: "must be 1 to 1000"}}
	}
	top := operations.Top{By: c.By, Rows: c.Rows, Login: c.login.pipeline()}
	for _, text := range c.URL {
		base, err := operations.ParseURL(text)
		if err != nil {
			return conf.Faults{{Field: "--url", Value: text, Bound: err.Error()}}
		}
		top.URLs = append(top.URLs, base)
	}
	return top.Run(ctx, stdout)
}

type checkCommand struct {
	login  `embed:""`
	URL    string   `help:"A running weir to ask which metrics it has seen; the config's http address by default." name:"url" placeholder:"URL"`
	Strict bool     `help:"Treat warnings as faults."`
	Show   bool     `help:"Print what each rule reads and waits for." name:"show-rules"`
	Radius bool     `help:"Print how much there is for each rule to do: the series that it reads, of those that a running weir has seen in the last day, how often it is evaluated, and what is kept for it." name:"blast-radius"`
	Files  []string `arg:"" help:"Config files and rule files."`
}

// Run prints that the files have no fault, or returns all faults. Warnings go to standard error;
// they are faults only with --strict.
func (c *checkCommand) Run(ctx context.Context) error {
	check := operations.Check{Files: c.Files, Login: c.login.pipeline()}
	if c.URL != "" {
		base, err := operations.ParseURL(c.URL)
		if err != nil {
			return conf.Faults{{Field: "--url", Value: c.URL, Bound: err.Error()}}
		}
		check.URL = base
	}
	if c.Show {
		check.Show = func(line string) { fmt.Fprintln(stdout, line) }
	}
	if c.Radius {
		check.Radius = stdout
	}
	warnings, err := check.Run(ctx)
	for _, w := range warnings {
		fmt.Fprintf(stderr, "warning: %v\n", w)
	}
	if err != nil {
		return err
	}
	if c.Strict && len(warnings) > 0 {
		return conf.Faults{{Bound: fmt.Sprintf("warnings: %d; with --strict there must be none", len(warnings))}}
	}
	fmt.Fprintf(stdout, "no fault in %s\n", strings.Join(c.Files, ", "))
	return nil
}

type versionCommand struct{}

// Run prints the version and what it was built with.
func (versionCommand) Run() error {
	_, err := fmt.Fprintf(stdout, "weir %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
