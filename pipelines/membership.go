package pipelines

import (
	"context"
	"net"
	"sync"

	"github.com/weir-metrics/weir/processors/members"
)

// joinMembers makes this process and the others watch each other, until leave is called, which tells
// the others. On the embedded broker there are no others.
func (p *Process) joinMembers() (leave func(), err error) {
	if !p.Config.Members.Watch || len(p.Config.Brokers) == 0 {
		return func() {}, nil
	}
	m, err := members.New(p.instance, p.advertised(), p.client, p.reg, p.Log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { m.Run(ctx) })
	return func() {
		cancel()
		run.Wait()
	}, nil
}

// advertised is where other processes reach this one's HTTP address, host:port.
func (p *Process) advertised() string {
	if a := p.Config.Members.Advertise; a != "" {
		return a
	}
	host, port, err := net.SplitHostPort(p.server.Addr())
	if err != nil {
		return p.server.Addr()
	}
	if ip := net.ParseIP(host); ip.IsUnspecified() {
		host = p.host()
	}
	return net.JoinHostPort(host, port)
}
