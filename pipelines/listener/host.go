package listener

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// hosts decides which names a request's Host may have. A foreign site may make its own name resolve to
// this machine (DNS rebinding), so that its page shares our origin; but the browser then sends that
// name as Host. So names that are not ours are refused. An IP address cannot be rebound.
type hosts struct {
	names    []string // lower case, without a final dot
	suffixes []string // ".example.com"
	any      bool
	// loopback: the listen address is a loopback address, so that no other IP address leads here.
	loopback bool
}

func newHosts(addr string, allowed []string, externalURL string, machine ...string) hosts {
	var h hosts
	listens, _, _ := net.SplitHostPort(addr) // listen has parsed it
	if ip, err := netip.ParseAddr(listens); err == nil {
		h.loopback = ip.Unmap().IsLoopback()
	}
	if u, err := url.Parse(externalURL); err == nil && u.Hostname() != "" {
		machine = append(machine, u.Hostname())
	}
	for _, name := range append(slices.Clone(allowed), machine...) {
		name = strings.TrimSuffix(strings.ToLower(name), ".")
		switch suffix, below := strings.CutPrefix(name, "*"); {
		case name == "":
		case below && suffix == "":
			h.any = true
		case below:
			h.suffixes = append(h.suffixes, suffix)
		default:
			h.names = append(h.names, name)
		}
	}
	return h
}

// allows reports whether a request's Host is one of ours, whatever its port: proxies and forwarded
// ports have others. Clients older than HTTP/1.1 send no Host; browsers always do.
func (h *hosts) allows(host string) bool {
	if host == "" || h.any {
		return true
	}
	name, ok := splitHost(host)
	if !ok {
		return false
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || !h.loopback || slices.Contains(h.names, name)
	}
	if !validName(name) {
		return false
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(h.names, name) ||
		slices.ContainsFunc(h.suffixes, func(s string) bool { return strings.HasSuffix(name, s) && len(name) > len(s) })
}

// splitHost is the host of a Host header in lower case, without port, brackets, zone and final dot.
func splitHost(host string) (name string, ok bool) {
	name = strings.ToLower(host)
	if rest, bracket := strings.CutPrefix(name, "["); bracket {
		inner, port, closed := strings.Cut(rest, "]")
		if !closed || port != "" && (port[0] != ':' || !validPort(port[1:])) {
			return "", false
		}
		inner, _, _ = strings.Cut(inner, "%") // a zone is the client's own matter
		ip, err := netip.ParseAddr(inner)
		return inner, err == nil && ip.Is6()
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		if !validPort(name[i+1:]) {
			return "", false
		}
		name = name[:i]
	}
	return strings.TrimSuffix(name, "."), name != ""
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil || port == "" // "localhost:" is a valid authority
}

// validName reports whether name, in lower case, is a host's name. Underscores are allowed: they are
// against the standard, but in use.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}
