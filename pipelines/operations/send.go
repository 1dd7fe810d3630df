package operations

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/connect"
)

// Login is how commands authenticate to a listener.
type Login = collect.Login

// Destination is where the commands agent and replay send samples: straight to the topic metrics if
// brokers are named, otherwise to a gateway.
type Destination struct {
	Gateway string // http://host:port
	Login   Login
	Brokers []string
	Kafka   connect.Config // how Brokers are reached
}

// ackWithin outlasts a restart of the brokers: nobody waits for an answer here, and what is given up
// and sent again may be written twice.
const ackWithin = 5 * time.Minute

// Validate returns conf.Faults that name the flags, or nil.
func (d Destination) Validate() error {
	c := conf.Parse("command line", nil, &struct{}{})
	for _, b := range d.Brokers {
		c.HostPort("--brokers", b)
	}
	return c.Err()
}

// probe returns within seconds an error if the brokers cannot be used; nil for a gateway.
func (d Destination) probe(ctx context.Context) error {
	if len(d.Brokers) == 0 {
		return nil
	}
	return connect.New(d.Brokers, d.Kafka).Probe(ctx)
}

// open returns the sender and what closes it. The error tells what is wrong with the destination.
func (d Destination) open() (send collect.Sender, closeSender func(), err error) {
	if len(d.Brokers) == 0 {
		gateway, err := collect.NewGatewaySender(d.Gateway)
		if err != nil {
			return nil, nil, err
		}
		gateway, err = gateway.As(d.Login)
		return gateway, func() {}, err
	}
	c := collect.Default()
	c.AckTimeout = conf.Duration(ackWithin)
	p, err := collect.NewPublisher(c, connect.New(d.Brokers, d.Kafka).Options()...)
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}

// RunAgent reads this machine and sends the samples until ctx ends. It returns an error if it cannot
// start: conf.Faults about the config or the destination, or what is wrong with the machine.
func RunAgent(ctx context.Context, c collect.AgentConfig, to Destination, log *slog.Logger) error {
	d := conf.Parse("command line", nil, &struct{}{})
	if c.Validate("agent", d); d.Err() != nil {
		return d.Err()
	}
	machine, err := collect.NewMachine(c.Host)
	if err != nil {
		return err
	}
	send, closeSender, err := to.open()
	if err != nil {
		return err
	}
	defer closeSender()
	if err := to.probe(ctx); err != nil {
		log.Warn("samples are kept until Kafka can be used", "err", err)
	}
	where := slog.Any("brokers", to.Brokers)
	if len(to.Brokers) == 0 {
		where = slog.String("gateway", to.Gateway)
	}
	log.Info("agent runs", where, "interval", c.Interval)
	return collect.NewAgent(c, collect.AgentDeps{Read: machine.Read, Send: send, Registry: prometheus.NewRegistry(), Log: log}).Run(ctx)
}
