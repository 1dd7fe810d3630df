package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/pipelines/broker"
	"github.com/weir-metrics/weir/pipelines/terminal"
	"github.com/weir-metrics/weir/processors/connect"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/query"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Process is one process of weir. All fields but File, Reload and Terminal are required. Run it once.
type Process struct {
	Config *Config
	Rules  *alerts.RuleSet
	// File is where Config and Rules are from, "" for none. A signal on Reload, which may be nil,
	// reloads the rules, certificates and secrets.
	File   string
	Reload <-chan os.Signal
	Roles  []string  // a subset of Roles
	Out    io.Writer // where the console receiver writes
	Log    *slog.Logger
	// Terminal is where Log is shown, if that is a terminal: recovery draws a bar there.
	// Without it, Log tells how far recovery is.
	Terminal *terminal.Terminal

	reg      *prometheus.Registry
	health   *Health
	brokers  []string
	kafka    *connect.Kafka
	client   []kgo.Opt // how every client reaches the brokers
	member   []kgo.Opt // the same for members of consumer groups
	instance string
	state    *writeback.Store // the local copy of the tables
	tiers    *tiers
	server   *server
	rules    *rules
	live     atomic.Pointer[query.Live] // of the query role, while it runs
	recovery recoveries
	letters  *deadletter.Limiter
}

// Run starts the roles, keeps them running until ctx ends, and stops them one by one, those that make
// samples first. It returns an error if an address or the data folder is in use, or if a topic's
// shape is not what the config says.
func (p *Process) Run(ctx context.Context) error {
	health := &Health{}
	p.health = health
	p.reg = newRegistry()
	p.letters = deadletter.NewLimiter(p.Config.DeadLetter, p.reg, p.Log)
	keep := newSupervisor(p.Log, health, p.reg)
	roles := p.roles(health)

	var err error
	if p.server, err = listen(p.Config, p.host(), p.reg, health, p.Log); err != nil {
		return err
	}
	defer p.server.Close()

	p.rules = newRules(p.Rules, func(before *alerts.RuleSet, cut cutFiles) (*alerts.RuleSet, error) {
		return p.Config.LoadRules(p.File, before, cut)
	}, time.Now, p.reg, p.Log)
	health.warn("rules", p.rules.Warning)
	if slices.Contains(p.Roles, "window") {
		p.server.reload.serve(p.rules)
	}
	if p.instance, err = instanceID(p.Config.Data); err != nil {
		return err
	}
	closeBroker, err := p.reachKafka()
	if err != nil {
		return err
	}
	defer closeBroker()
	keep.explain = p.kafka.Explain
	keep.reach = p.kafka.Probe
	p.client = p.kafka.Options()
	p.member = append(slices.Clip(p.client), kgo.InstanceID(p.instance), kgo.HeartbeatInterval(noticeWithin))
	if err := p.ensureTopics(ctx, health); err != nil {
		return err
	}
	p.Log.Info("weir runs", "page", p.server.URL(), "roles", p.Roles, "brokers", p.brokers, "data", p.Config.Data)

	if p.state, err = writeback.OpenStore(filepath.Join(p.Config.Data, "state"), p.Log); err != nil {
		return err
	}
	defer closed(p.Log, "local state", p.state)
	p.tiers = newTiers(p.Config, p.reg, p.Log)
	defer p.tiers.close()
	for _, r := range roles {
		defer keep.start(r.name, r.health, r.build)()
	}
	leave, err := p.joinMembers()
	if err != nil {
		return err
	}
	var telling sync.WaitGroup
	telling.Go(func() { p.tellRecovery(ctx) })
	defer telling.Wait()
	go p.tellReady(ctx, health)
	p.await(ctx)
	p.Log.Info("stopping")
	leave() // before the roles stop, so that nobody takes this process for dead
	return nil
}

// reachKafka sets how the brokers are reached; if none are named, it starts the embedded one.
func (p *Process) reachKafka() (closeBroker func(), err error) {
	if len(p.Config.Brokers) > 0 {
		p.brokers = p.Config.Brokers
		p.kafka = connect.New(p.brokers, p.Config.Kafka)
		return func() {}, nil
	}
	embedded, err := broker.Start(filepath.Join(p.Config.Data, "broker"), p.Config.Broker, p.reg, p.Log)
	if err != nil {
		return nil, err
	}
	p.brokers = embedded.Addrs()
	p.kafka = connect.New(p.brokers, connect.Default()) // it knows neither TLS nor SASL
	return embedded.Close, nil
}

// await returns when ctx ends; until then it reloads the rules when their files change, and the
// rules, certificates and secrets when asked to.
func (p *Process) await(ctx context.Context) {
	var poll <-chan time.Time
	if every := p.Config.RulesReloadInterval; every > 0 && p.File != "" && slices.Contains(p.Roles, "window") {
		ticker := time.NewTicker(every.Std())
		defer ticker.Stop()
		poll = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.Reload:
			p.server.Reload()
			_ = p.rules.reload(refuseCut) // it logs what is wrong
		case <-poll:
			p.rules.poll(p.Config.source.files)
		}
	}
}

// closed closes something that the roles shared, after they have stopped.
func closed(log *slog.Logger, what string, c io.Closer) {
	if err := c.Close(); err != nil {
		log.Error("not closed cleanly", "what", what, "err", err)
	}
}

// started is a role of this process, and what readiness knows of it.
type started struct {
	name   string
	health *roleHealth
	build  build
}

// roles returns the roles of this process in the order in which they start. They stop in the opposite
// order, those that make samples first.
func (p *Process) roles(health *Health) []started {
	all := []started{
		{name: "query", build: p.query},
		{name: "store", build: p.store},
		{name: "notify", build: p.notify},
		{name: "alert", build: p.alert},
		{name: "window", build: p.window},
		{name: "route", build: p.route},
		{name: "gateway", build: p.gateway},
		{name: "agent", build: p.agent},
		{name: "canary", build: p.canary},
	}
	all = slices.DeleteFunc(all, func(s started) bool {
		return !slices.Contains(p.Roles, s.name) || s.name == "canary" && !p.Config.Canary.On()
	})
	if slices.Contains(p.Roles, "canary") && !p.Config.Canary.On() && len(p.Roles) < len(Roles) { // it was asked for by name
		p.Log.Warn("the role canary has nothing to do", "canary.every", p.Config.Canary.Every)
	}
	for i := range all {
		all[i].health = health.add(all[i].name, "starting")
	}
	return all
}

// noticeWithin is how soon a member notices that another has joined or left. A partition that moves
// stands still until all members have noticed: those of a member that left stood still for 0.3 s, and
// for 1.9 s with kgo's own 3 s (TestRebalance).
const noticeWithin = 300 * time.Millisecond

// topicsEvery is the pause between two attempts to make the topics.
const topicsEvery = 2 * time.Second

// ensureTopics waits for the brokers and makes the topics. It returns an error if a topic cannot be
// used, and nil if ctx ends.
func (p *Process) ensureTopics(ctx context.Context, health *Health) error {
	adm, err := kadm.NewOptClient(append(slices.Clip(p.client), kgo.MetadataMinAge(topics.Settle))...)
	if err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	defer adm.Close()
	state := health.add("topics", "being made")
	for {
		err := p.kafka.Probe(ctx)
		if err == nil {
			err = ensureOnce(ctx, adm, topics.All(p.Config.Topics))
		}
		switch {
		case err == nil || ctx.Err() != nil:
			health.running(state, none)
			return nil
		case errors.Is(err, topics.ErrShape):
			return err
		}
		err = p.kafka.Explain(err)
		p.Log.Warn("cannot make the topics, trying again", "err", err, "after", topicsEvery)
		health.stopped(state, err.Error())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(topicsEvery):
		}
	}
}

// ensureWithin bounds one attempt to make the topics, including the client's waits.
const ensureWithin = 20 * time.Second

func ensureOnce(ctx context.Context, adm *kadm.Client, all []topics.Topic) error {
	ctx, cancel := context.WithTimeout(ctx, ensureWithin)
	defer cancel()
	return topics.Ensure(ctx, adm, all)
}

// tellReady logs the first time that every role is ready.
func (p *Process) tellReady(ctx context.Context, health *Health) {
	began := time.Now()
	for len(health.NotReady()) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	p.Log.Info("every role is ready", "after", time.Since(began).Round(time.Millisecond))
}

// host is the name of this machine, as the agent labels its samples.
func (p *Process) host() string {
	if h := p.Config.Agent.Host; h != "" {
		return h
	}
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return h
}

// address is the host:port of this process's page for people at other machines: a host that means
// something only on this machine is replaced by this machine's name.
func (p *Process) address() string {
	host, port, err := net.SplitHostPort(p.server.Addr())
	if err != nil {
		return p.server.Addr()
	}
	if ip := net.ParseIP(host); ip.IsUnspecified() || ip.IsLoopback() {
		host = p.host()
	}
	return net.JoinHostPort(host, port)
}
