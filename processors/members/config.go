package members

import (
	"net"
	"strconv"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is how the others find a process.
type Config struct {
	// Advertise is where the others reach this process's HTTP address, host:port. "": http itself,
	// with the machine's name if that listens on all addresses.
	Advertise string `yaml:"advertise"`
	// Watch makes this process take dead ones out of their groups. Default true.
	Watch bool `yaml:"watch"`
}

// Default returns the defaults above.
func Default() Config { return Config{Watch: true} }

// Validate reports an address that is not host:port.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.Advertise == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Advertise)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		d.Fail(at+".advertise", c.Advertise, "must be host:port, where other processes reach this one")
	}
}
