package pipelines

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/pipelines/listener"
	"github.com/weir-metrics/weir/pipelines/routelag"
	"github.com/weir-metrics/weir/processors/alert"
	"github.com/weir-metrics/weir/processors/canary"
	"github.com/weir-metrics/weir/processors/notify"
	"github.com/weir-metrics/weir/processors/route"
	"github.com/weir-metrics/weir/processors/store"
	"github.com/weir-metrics/weir/processors/window"
	"github.com/weir-metrics/weir/query"
)

// Each method here builds one role, from the config and what the process shares. A role that failed
// is built again.

func (p *Process) route(reg prometheus.Registerer) (role, error) {
	r := route.New(p.Config.Route, route.Deps{
		Brokers: p.brokers, Shards: p.Config.Topics.Shards, Options: p.member, Owner: p.address(), Letters: p.letters, Registry: reg, Log: p.Log,
	})
	return role{p.leaving(route.ConsumerGroup, r.Run), r.Waiting}, nil
}

func (p *Process) notify(reg prometheus.Registerer) (role, error) {
	n := notify.New(p.Config.Notify.Delivery, notify.Deps{
		Options: p.member, Receivers: p.Config.Notify.Receivers.Build(p.Out), Letters: p.letters, Registry: reg, Log: p.Log,
	})
	p.health.warn("notify", n.Warning)
	return role{p.leaving(notify.ConsumerGroup, n.Run), none}, nil
}

func (p *Process) store(reg prometheus.Registerer) (role, error) {
	tiers, err := p.tiers.open()
	if err != nil {
		return role{}, err
	}
	s := store.New(p.Config.Store, store.Deps{Options: p.member, Tiers: tiers, Letters: p.letters, Registry: reg, Log: p.Log})
	return role{p.leaving(store.ConsumerGroup, s.Run), s.Waiting}, nil
}

func (p *Process) query(reg prometheus.Registerer) (role, error) {
	tiers, err := p.tiers.open()
	if err != nil {
		return role{}, err
	}
	live := query.NewLive(p.Config.Query, p.client, reg, p.Log)
	page := query.New(query.Deps{
		Config: p.Config.Query, Store: tiers, Live: live, Tiers: p.Config.Windows.Tiers, GroupLabels: p.Config.Route.GroupLabels,
		Host: p.host(), Registry: reg, Log: p.Log,
	})
	run := func(ctx context.Context) error {
		p.live.Store(live)
		defer p.live.Store(nil)
		return live.Run(ctx)
	}
	return role{served(run, p.server.pages, page), live.Waiting}, nil
}

func (p *Process) gateway(reg prometheus.Registerer) (role, error) {
	publisher, err := collect.NewPublisher(p.Config.Collect, p.client...)
	if err != nil {
		return role{}, err
	}
	mux := http.NewServeMux()
	collect.NewGateway(p.Config.Collect, collect.GatewayDeps{
		Publisher: publisher, User: listener.User, Now: time.Now, Registry: reg, Log: p.Log,
		Letters: func(letter *kgo.Record) bool { return p.letters.Admit(letter, time.Now()) },
	}).Register(mux)
	run := func(ctx context.Context) error {
		defer publisher.Close()
		<-ctx.Done()
		return nil
	}
	return role{served(run, p.server.writes, mux), none}, nil
}

func (p *Process) agent(reg prometheus.Registerer) (role, error) {
	machine, err := collect.NewMachine(p.Config.Agent.Host)
	if err != nil {
		return role{}, err
	}
	publisher, err := collect.NewPublisher(p.Config.Collect, p.client...)
	if err != nil {
		return role{}, err
	}
	a := collect.NewAgent(p.Config.Agent, collect.AgentDeps{Read: machine.Read, Send: publisher, Registry: reg, Log: p.Log})
	run := func(ctx context.Context) error {
		defer publisher.Close()
		return a.Run(ctx)
	}
	return role{run, none}, nil
}

func (p *Process) canary(reg prometheus.Registerer) (role, error) {
	publisher, err := collect.NewPublisher(p.Config.Collect, p.client...)
	if err != nil {
		return role{}, err
	}
	tierMS, _ := p.Config.smallestTier()
	c, err := canary.New(p.Config.Canary, canary.Deps{
		Options: p.client, Send: publisher.Publish, Shards: p.Config.Topics.Shards, GroupLabels: p.Config.Route.GroupLabels, TierMS: tierMS,
		Instance: p.instance, ConsumerGroup: notify.ConsumerGroup, Registry: reg, Log: p.Log,
	})
	if err != nil {
		publisher.Close()
		return role{}, err
	}
	p.health.warn("canary", c.Warning)
	run := func(ctx context.Context) error {
		defer publisher.Close()
		return c.Run(ctx)
	}
	return role{run, none}, nil
}

func (p *Process) window(reg prometheus.Registerer) (role, error) {
	lag, err := routelag.New(p.client, p.Config.Windows.LeastGrace(), reg, p.Log)
	if err != nil {
		return role{}, err
	}
	w := window.NewAll(p.Config.Window, window.Deps{
		Brokers: p.brokers, Kafka: p.kafka, Windows: p.Config.Windows, Rules: p.Rules, Topics: p.Config.Topics,
		Instance: p.instance, Owner: p.address(), Store: p.state, Behind: lag.Complete, Registry: reg, Log: p.Log,
		Letters: p.letters,
	}, p.client)
	p.health.warn("window", w.Warning)
	p.health.warn("pipeline", lag.Warning)
	p.rules.follow(w.SetRules)
	p.recovery.of("window", w.Recovery)
	run := func(ctx context.Context) error {
		defer lag.Follow(ctx)()
		return w.Run(ctx)
	}
	rules := query.Rules(p.Config.Query, w, func() query.AlertSource {
		if live := p.live.Load(); live != nil {
			return live
		}
		return nil
	}, time.Now)
	return role{served(served(run, p.server.top, query.Top(w, lag.Standing, time.Now)), p.server.rules, rules), w.Waiting}, nil
}

func (p *Process) alert(reg prometheus.Registerer) (role, error) {
	lag, err := routelag.New(p.client, 0, prometheus.NewRegistry(), p.Log) // the window role has its metrics
	if err != nil {
		return role{}, err
	}
	a := alert.New(p.Config.Alert, alert.Deps{
		Clock:   lag.SetTime,
		Brokers: p.brokers, Kafka: p.kafka, Topics: p.Config.Topics, Instance: p.instance, Store: p.state, Registry: reg, Log: p.Log,
		Letters: p.letters,
	})
	p.health.warn("alert", a.Warning)
	p.recovery.of("alert", a.Recovery)
	run := func(ctx context.Context) error {
		defer lag.FollowClocks(ctx)()
		return a.Run(ctx)
	}
	return role{run, a.Waiting}, nil
}

// served runs a role; while it runs, the slot answers with h.
func served(run func(context.Context) error, slot *slot, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		slot.serve(h)
		defer slot.serve(nil)
		return run(ctx)
	}
}

// leaveTimeout bounds how long a role that has stopped takes to leave its group.
const leaveTimeout = 3 * time.Second

// leaving runs a role, and after a clean stop takes this process out of the role's group: a static
// member does not leave by itself, and its partitions would stand still until its session ends.
func (p *Process) leaving(group string, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := run(ctx)
		if err != nil || ctx.Err() == nil {
			return err // it starts again soon
		}
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		adm, err := kadm.NewOptClient(p.client...)
		if err == nil {
			defer adm.Close()
			_, err = adm.LeaveGroup(soon, kadm.LeaveGroup(group).InstanceIDs(p.instance).Reason("clean stop"))
		}
		if err != nil {
			p.Log.Warn("cannot leave the group: the partitions wait until the session ends", "group", group, "err", err)
		}
		return nil
	}
}

// none is the waiting of a role that is ready as soon as it runs.
func none() string { return "" }
