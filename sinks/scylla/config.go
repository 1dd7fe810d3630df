package scylla

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/schemas/dial"
)

// Config is the part cql of the configuration.
type Config struct {
	// Hosts are some nodes of the cluster, host or host:port; the driver finds the others. Without
	// hosts, the embedded store keeps the tiers.
	Hosts []string `yaml:"hosts"`
	// Keyspace is created if it is missing.
	Keyspace string `yaml:"keyspace"`
	// Replication is the number of replicas by data centre, or, under the name replication_factor,
	// in every data centre. It is used when the keyspace is created.
	Replication map[string]int `yaml:"replication"`
	// Consistency is that of reads and writes, in CQL's words.
	Consistency string `yaml:"consistency"`
	// LocalDC is the data centre whose nodes are asked first; "": any.
	LocalDC  string      `yaml:"local_dc"`
	Username string      `yaml:"username"` // "": no authentication
	Password conf.Secret `yaml:"password"`
	TLS      dial.Config `yaml:"tls"`
	// Timeout bounds one request, 100ms to 1m; the request is then tried again.
	Timeout conf.Duration `yaml:"timeout"`
	// InFlight bounds the requests in flight, 1 to 1024. More than 128 add latency but no
	// throughput.
	InFlight int `yaml:"in_flight"`
}

// Default is a cluster of one node: replication 1. LOCAL_QUORUM is then one replica, and stays
// right when there are three.
func Default() Config {
	return Config{
		Keyspace:    "weir",
		Replication: map[string]int{"replication_factor": 1},
		Consistency: "LOCAL_QUORUM",
		Timeout:     conf.Duration(5 * time.Second),
		InFlight:    96,
	}
}

// Bounds of Config.
const (
	minTimeout  = conf.Duration(100 * time.Millisecond)
	maxTimeout  = conf.Duration(time.Minute)
	maxInFlight = 1024
)

// Validate records every setting that is out of bounds.
func (c *Config) Validate(at string, d *conf.Doc) {
	for i, h := range c.Hosts {
		if _, err := hostPort(h); err != nil {
			d.Fail(fmt.Sprintf("%s.hosts[%d]", at, i), h, "must be host or host:port")
		}
	}
	if err := cql.CheckKeyspace(c.Keyspace); err != nil {
		d.Fail(at+".keyspace", c.Keyspace, "must be 1 to 48 of a-z, 0-9 and _, a letter first")
	}
	if err := cql.CheckReplication(c.Replication); err != nil {
		d.Fail(at+".replication", nil, err.Error())
	}
	if _, err := consistency(c.Consistency); err != nil {
		d.Fail(at+".consistency", c.Consistency, err.Error())
	}
	switch {
	case c.Username == "" && !c.Password.IsZero():
		d.Fail(at+".username", "", "must be given together with a password")
	case c.Username != "" && c.Password.IsZero():
		d.Fail(at+".password", nil, "must be given together with a username")
	case c.Username != "":
		if _, err := c.Password.Reveal(); err != nil {
			d.Fail(at+".password", nil, "must be readable: "+err.Error())
		}
	}
	c.TLS.Validate(at+".tls", d)
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		d.Fail(at+".timeout", c.Timeout, fmt.Sprintf("must be %v to %v", minTimeout, maxTimeout))
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		d.Fail(at+".in_flight", c.InFlight, fmt.Sprintf("must be 1 to %d", maxInFlight))
	}
}

// Warnings lists what is allowed but dangerous in the section at the path at.
func (c *Config) Warnings(at string) []string {
	all := c.TLS.Warnings(at + ".tls")
	if c.Username != "" && !c.TLS.On() {
		all = append(all, at+".password without tls: anyone on the way can read the password")
	}
	return all
}

const defaultPort = 9042

// hostPort returns the port of a host, or CQL's own if it names none.
func hostPort(host string) (port int, err error) {
	name, text, err := net.SplitHostPort(host)
	if err != nil && !strings.Contains(host, ":") {
		name, text, err = host, strconv.Itoa(defaultPort), nil
	}
	if err != nil {
		return 0, err
	}
	if name == "" || strings.ContainsAny(name, " /") {
		return 0, fmt.Errorf("host %q", host)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return int(n), err
}

// consistency reads one of CQL's levels that both reads and writes have.
func consistency(name string) (gocql.Consistency, error) {
	levels := []gocql.Consistency{gocql.LocalQuorum, gocql.Quorum, gocql.LocalOne, gocql.One, gocql.Two, gocql.Three, gocql.All}
	var names []string
	for _, level := range levels {
		if strings.EqualFold(level.String(), name) {
			return level, nil
		}
		names = append(names, level.String())
	}
	return 0, fmt.Errorf("must be one of %s", strings.Join(names, ", "))
}
