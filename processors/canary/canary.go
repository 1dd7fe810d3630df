package canary

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Deps are what canaries work with. All are required.
type Deps struct {
	Options []kgo.Opt // how to reach the brokers
	// Send writes samples to the topic metrics, and returns once Kafka has them.
	Send          func(ctx context.Context, samples []schemas.Sample) error
	Shards        int32    // of the first generation
	GroupLabels   []string // config route.group_labels
	TierMS        int64    // length of the smallest tier, ms
	Instance      string   // names this process among those that run the role
	ConsumerGroup string   // of notify
	Registry      prometheus.Registerer
	Log           *slog.Logger
}

// Canary sends canaries and follows them. Make it with New, and Run it once.
type Canary struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	count   *counters
	client  *consume.Client // reads alerts
	adm     *kadm.Client
	gens    *generations.Log
	beat    *heart
	mu      sync.Mutex
	flights *flights // nil before the number of shards is known
	shards  int32    // of flights
	warned  string   // how many shards were late, when that was logged last
}

// lookEvery is the pause between two looks at the clock and at the offsets of notify.
const lookEvery = time.Second

// New returns canaries for a config that has them (Config.On). It registers weir_canary_*.
func New(cfg Config, d Deps) (*Canary, error) {
	log := d.Log.With("processor", "canary")
	opts := append(slices.Clip(d.Options), kgo.ConsumeTopics(topics.Alerts), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(500*time.Millisecond))
	client, err := consume.New(consume.Counted("canary", d.Registry, log), opts...)
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	gens, err := generations.Open(d.Shards, d.Options...)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("canary: %w", err)
	}
	c := &Canary{cfg: cfg, deps: d, log: log, client: client, adm: kadm.NewClient(client.Client), gens: gens, beat: newHeart(cfg.Heartbeat)}
	c.count = newCounters(d.Registry, func() standing { return c.standing(time.Now()) })
	gens.Tell(c.count.refused, log)
	return c, nil
}

// Run sends and follows canaries until ctx ends, and then returns nil. It returns an error before that
// if Kafka does not let it read alerts.
func (c *Canary) Run(ctx context.Context) error {
	defer c.client.Close()
	defer c.gens.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	var all sync.WaitGroup
	all.Go(func() { c.sendAll(ctx) })
	all.Go(func() { c.look(ctx) })
	all.Go(func() {
		defer cancel()
		err = c.readAll(ctx)
	})
	if c.beat != nil {
		all.Go(func() { c.beatAll(ctx) })
	}
	all.Wait()
	return err
}

// Warning tells which canaries are late, or why there is no heartbeat; "" if all is well.
func (c *Canary) Warning() string {
	s := c.standing(time.Now())
	warning := s.warning()
	if c.beat == nil {
		return warning
	}
	if fault := c.beat.fault(); fault != "" {
		warning = strings.TrimPrefix(warning+"; the heartbeat fails: "+fault, "; ")
	}
	return warning
}

// warning puts what is wrong into words.
func (s *standing) warning() string {
	var faults []string
	if n := len(s.late); n > 0 {
		shown := s.late[:min(n, 10)]
		faults = append(faults, fmt.Sprintf("canaries of %d of %d shards are late, the oldest was sent %v ago: shards %s", n, s.shards,
			(time.Duration(s.oldestMS)*time.Millisecond).Round(time.Second), strings.Trim(fmt.Sprint(shown), "[]")))
		if n > len(shown) {
			faults[0] += ", …"
		}
	}
	if s.idle {
		faults = append(faults, "no canary has been sent for two periods")
	}
	return strings.Join(faults, "; ")
}

func (c *Canary) standing(now time.Time) standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights == nil {
		return standing{}
	}
	return c.flights.standing(now.UnixMilli())
}

// sendAll sends a sample of each bird each period, the first at once.
func (c *Canary) sendAll(ctx context.Context) {
	every := c.cfg.Every.Std()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		c.send(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// send sends one sample of each bird.
func (c *Canary) send(ctx context.Context, now time.Time) {
	soon, cancel := context.WithTimeout(ctx, c.cfg.Every.Std()/2)
	defer cancel()
	if err := c.gens.Refresh(soon); err != nil {
		c.failed(ctx, fmt.Errorf("the number of shards is not known: %w", err))
		return
	}
	if err := c.deps.Send(soon, c.next(now)); err != nil {
		c.mu.Lock()
		c.flights.lost()
		c.mu.Unlock()
		c.failed(ctx, err)
		return
	}
	c.count.sent.WithLabelValues("ok").Inc()
}

// failed tells that a period's canaries were not sent.
func (c *Canary) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.count.sent.WithLabelValues("failed").Inc()
	c.log.Warn("canaries not sent, trying again in the next period", "err", err)
}

// next makes the samples of a period: those of new birds if the number of shards has changed.
func (c *Canary) next(now time.Time) (samples []schemas.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nowMS := now.UnixMilli()
	if shards := shardsAt(c.gens.Current(), nowMS); shards != c.shards {
		c.flights = newFlights(c.deps.Instance, c.deps.GroupLabels, shards, c.cfg, c.deps.TierMS, nowMS)
		c.shards = shards
	}
	for _, b := range c.flights.birds {
		samples = append(samples, b.send(nowMS))
	}
	return samples
}

// shardsAt is the number of shards of the generation that takes samples of that time.
func shardsAt(g *schemas.Generations, atMS int64) int32 {
	open := g.Open()
	shards := open[0].Shards
	for _, n := range open {
		if n.FromMS <= atMS {
			shards = n.Shards
		}
	}
	return shards
}

// readAll reads the topic alerts until ctx ends, or reading fails for good.
func (c *Canary) readAll(ctx context.Context) error {
	for {
		fetches := c.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, failed := range fetches.Errors() {
			if consume.Denied(failed.Err) {
				return fmt.Errorf("topic %s: %w", failed.Topic, failed.Err)
			}
			c.log.Warn("cannot read, trying again", "topic", failed.Topic, "partition", failed.Partition, "err", failed.Err)
		}
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { c.read(r, now) })
	}
}

// read takes one record of alerts.
func (c *Canary) read(r *kgo.Record, now time.Time) {
	if !bytes.Contains(r.Value, []byte(schemas.CanaryRule)) {
		return
	}
	a, err := schemas.DecodeDoc[schemas.Alert](r.Value)
	if err != nil {
		return // notify counts it, and puts it into deadletter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights == nil {
		return
	}
	if l, exact := c.flights.read(a, r.Partition, r.Offset); exact {
		c.count.took.WithLabelValues("sample").Observe(float64(now.UnixMilli()-l.sentMS) / 1000)
		c.count.took.WithLabelValues("window_end").Observe(float64(now.UnixMilli()-l.endMS) / 1000)
	}
}

// look asks each second how far notify is, and logs when shards become late and when none is any more.
func (c *Canary) look(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			c.follow(ctx)
			c.tell(now)
		}
	}
}

// follow asks how far notify is, if a canary waits for it.
func (c *Canary) follow(ctx context.Context) {
	c.mu.Lock()
	waits := c.flights != nil && len(c.flights.waiting()) > 0
	c.mu.Unlock()
	if !waits {
		return
	}
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	offsets, err := c.adm.FetchOffsets(soon, c.deps.ConsumerGroup)
	if err != nil {
		return // it makes canaries late, which is told
	}
	committed := map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topics.Alerts && o.Err == nil {
			committed[o.Partition] = o.At
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flights.passed(committed)
}

// tell logs a change of what is late.
func (c *Canary) tell(now time.Time) {
	s := c.standing(now)
	said := fmt.Sprint(s.late, s.idle)
	if said == c.warned || c.warned == "" && s.warning() == "" {
		return
	}
	c.warned = said
	if warning := s.warning(); warning != "" {
		c.log.Warn("canaries do not come through", "warning", warning)
	} else {
		c.log.Info("canaries come through again", "shards", s.shards)
	}
}
