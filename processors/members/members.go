package members

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	renewEvery  = 250 * time.Millisecond
	renewWithin = 2 * time.Second // longer renewals are abandoned
	removeEvery = 500 * time.Millisecond
	// removeWithin bounds one attempt to take a member out of its groups.
	removeWithin = 2 * time.Second
)

// Member is this process among the others. Make it with New, and Run it once.
type Member struct {
	own    schemas.Member
	client *consume.Client // writes and reads the topic
	adm    *kadm.Client
	log    *slog.Logger

	removed *prometheus.CounterVec // by why
	known   prometheus.Gauge
	bad     prometheus.Counter

	mu    sync.Mutex
	judge *Judge
}

// New returns the member with that instance id, which the others reach at address, host:port. It
// registers weir_members_* with reg. opts are how to reach the brokers.
func New(instance, address string, opts []kgo.Opt, reg prometheus.Registerer, log *slog.Logger) (*Member, error) {
	opts = append(append([]kgo.Opt{}, opts...), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.MetadataMinAge(renewEvery), kgo.RecordDeliveryTimeout(renewWithin),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topics.Members: {0: kgo.NewOffset().AtEnd()}}))
	client, err := consume.New(consume.Counted("members", reg, log), opts...)
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	m := &Member{
		own:    schemas.Member{Instance: instance, Address: address, StartedMS: time.Now().UnixMilli()},
		client: client, adm: kadm.NewClient(client.Client), log: log.With("processor", "members"), judge: NewJudge(instance),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_members_removed_total", Help: "Dead members that this one took out of their groups, by reason: refuses, silent.",
		}, []string{"why"}),
		known: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_members_known", Help: "Other members that renew their record.",
		}),
		bad: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_members_undecodable_records_total", Help: "Records of the topic members that do not decode, or have another member's key.",
		}),
	}
	reg.MustRegister(m.removed, m.known, m.bad)
	return m, nil
}

// Run renews this member's record, and watches others, until ctx ends; then it says goodbye.
func (m *Member) Run(ctx context.Context) {
	defer m.client.Close()
	var all sync.WaitGroup
	all.Go(func() { m.renew(ctx) })
	all.Go(func() { m.read(ctx) })
	all.Go(func() { m.watch(ctx) })
	all.Wait()
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewWithin)
	defer cancel()
	goodbye := &kgo.Record{Topic: topics.Members, Key: []byte(m.own.Instance)}
	if err := m.client.ProduceSync(soon, goodbye).FirstErr(); err != nil {
		m.log.Warn("could not say goodbye to the other members", "err", err)
	}
}

// renew writes this member's record, one at a time.
func (m *Member) renew(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	value := schemas.EncodeDoc(&m.own)
	failing := false
	for {
		r := &kgo.Record{Topic: topics.Members, Key: []byte(m.own.Instance), Value: value}
		err := m.client.ProduceSync(ctx, r).FirstErr()
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			m.log.Warn("own record not renewed, will keep trying", "topic", topics.Members, "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// read follows the topic. A record that does not decode is counted; it is not a renewal, and does
// no other harm.
func (m *Member) read(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		err := fetches.Err()
		if err != nil && !failing && ctx.Err() == nil {
			m.log.Warn("cannot read the other members' records, so this process watches nobody; will keep trying", "topic", topics.Members, "err", err)
		}
		failing = err != nil
		m.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Value == nil {
				m.judge.Left(string(r.Key))
				return
			}
			d, err := schemas.DecodeDoc[schemas.Member](r.Value)
			if err == nil && d.Instance != "" && d.Instance == string(r.Key) {
				m.judge.Renewed(d.Instance, d.Address, d.StartedMS)
				return
			}
			m.bad.Inc()
		})
		m.known.Set(float64(m.judge.Known()))
		m.mu.Unlock()
	}
}

// watch asks those that this member should watch, and takes the dead out of their groups.
func (m *Member) watch(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	asking := map[string]bool{} // instance ids with a question in progress; guarded by m.mu
	var questions sync.WaitGroup
	defer questions.Wait()
	var tried time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		for instance, address := range m.judge.Watched() {
			if asking[instance] {
				continue
			}
			asking[instance] = true
			questions.Go(func() {
				o := ask(ctx, address)
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(asking, instance)
				if ctx.Err() == nil {
					m.judge.Asked(instance, address, o)
				}
			})
		}
		dead := m.judge.Dead()
		m.mu.Unlock()
		if len(dead) == 0 || time.Since(tried) < removeEvery {
			continue
		}
		tried = time.Now()
		for _, d := range dead {
			m.remove(ctx, d)
		}
	}
}

// remove takes a dead member out of its groups. Failures are retried as long as the member is dead.
func (m *Member) remove(ctx context.Context, d Dead) {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	groups, err := m.groupsOf(ctx, d.Instance)
	for _, group := range groups {
		leave := kadm.LeaveGroup(group).InstanceIDs(d.Instance).Reason("dead: " + d.Why)
		if _, e := m.adm.LeaveGroup(ctx, leave); e != nil && err == nil {
			err = fmt.Errorf("group %s: %w", group, e)
		}
	}
	if err != nil && !consume.Denied(err) {
		m.log.Warn("cannot take a dead member out of its groups, will try again", "instance", d.Instance, "address", d.Address, "why", d.Why, "err", err)
		return
	}
	m.mu.Lock()
	m.judge.Out(d.Instance)
	m.mu.Unlock()
	if err != nil || len(groups) == 0 { // Kafka omits groups that a user may not Describe
		m.log.Warn("leaving a dead member to Kafka's session: it is in no group that this process may see, or may remove it from", "instance", d.Instance, "address", d.Address, "why", d.Why, "err", err)
		return
	}
	m.removed.WithLabelValues(d.Why).Inc()
	m.log.Warn("took a dead member out of its groups", "instance", d.Instance, "address", d.Address, "why", d.Why, "groups", groups)
}

// groupsOf lists the consumer groups of weir that have a member with that instance id.
func (m *Member) groupsOf(ctx context.Context, instance string) ([]string, error) {
	listed, err := m.adm.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	var ours []string
	for _, name := range listed.Groups() {
		if strings.HasPrefix(name, topics.ConsumerGroupPrefix) {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 {
		return nil, nil
	}
	described, err := m.adm.DescribeGroups(ctx, ours...)
	if err != nil {
		return nil, fmt.Errorf("describe groups: %w", err)
	}
	var in []string
	for _, g := range described.Sorted() {
		for _, member := range g.Members {
			if member.InstanceID != nil && *member.InstanceID == instance {
				in = append(in, g.Group)
				break
			}
		}
	}
	return in, nil
}
