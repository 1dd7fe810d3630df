package pipelines

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/collect"
	"weir/schemas/conf"
)

// Login is how commands tell a listener who asks.
type Login = collect.Login

// Destination is where the commands agent and replay send samples: straight to the
// topic metrics when brokers are named, else to a gateway.
type Destination struct {
	Gateway string // http://host:port
	Login   Login
	Brokers []string
}

// ackWithin outlasts a restart of the brokers: nobody waits for an answer here, and
// what is given up and sent again may be written twice.
const ackWithin = 5 * time.Minute

// open returns the sender and what closes it. The error quotes what is wrong with
// the destination.
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
	p, err := collect.NewPublisher(c, kgo.SeedBrokers(d.Brokers...), kgo.ClientID("weir"))
	if err != nil {
		return nil, nil, err
	}
	return p, p.Close, nil
}

// RunAgent reads this machine and sends what it read until ctx ends. It returns an
// error when it cannot start: conf.Faults about the config, or about to.
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
	log.Info("agent runs", "gateway", to.Gateway, "brokers", to.Brokers, "interval", c.Interval)
	return collect.NewAgent(c, machine.Read, send, newRegistry(), log).Run(ctx)
}
