package frames

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	// maxProduce is the longest produce request, Kafka's own socket.request.max.bytes.
	maxProduce = 100 << 20 // bytes
	// maxRequest is the longest of the other requests; maxJoin is the longest JoinGroup, which the
	// broker keeps as long as the member.
	maxRequest = 1 << 20   // bytes
	maxJoin    = 256 << 10 // bytes
	// maxElements bounds the entries of all lists of a request together.
	maxElements = 50_000
)

// Versions are the requests that pass, as the broker has to announce them: what producers, consumers
// and administrators of a single broker need. Requests of other brokers, for passwords and ACLs, share
// groups and telemetry are missing, and so are changes of settings, which the broker does not check.
func Versions() *kversion.Versions {
	v := kversion.Stable()
	v.EachMaxKeyVersion(func(key, _ int16) {
		if _, ok := served[kmsg.Key(key)]; !ok {
			v.SetMaxKeyVersion(key, -1)
		} else if newest, ok := most[kmsg.Key(key)]; ok {
			v.SetMaxKeyVersion(key, newest)
		}
	})
	return v
}

// least are the oldest versions that the broker serves, and that have layouts; 0 if not listed.
var least = map[kmsg.Key]int16{kmsg.Produce: 3, kmsg.Fetch: 4}

// most are the newest versions that pass, if the broker cannot be trusted with a newer one. A Produce
// that names topics by id ends the broker if two of them are unknown.
var most = map[kmsg.Key]int16{kmsg.Produce: 12}

// newestOf is the newest version that passes.
func newestOf(req kmsg.Request) int16 {
	if v, ok := most[kmsg.Key(req.Key())]; ok {
		return v
	}
	return req.MaxVersion()
}

// maxFrame is how long a request with the key may be, bytes, and whether it is served at all.
func maxFrame(key int16) (int, bool) {
	_, ok := served[kmsg.Key(key)]
	switch kmsg.Key(key) {
	case kmsg.Produce:
		return maxProduce, ok
	case kmsg.JoinGroup:
		return maxJoin, ok
	default:
		return maxRequest, ok
	}
}

// refusal is why a connection is closed; its reason is the metric's label.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.reason + ": " + r.err.Error() }

func refuse(reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// check returns why a request, which is complete and without its length, is refused, or nil. It may
// lower bounds within the request.
func (g *Gate) check(b []byte) error {
	w := walk{gate: g, left: maxElements}
	w.Src = b
	w.key, w.version = kmsg.Key(w.Int16()), w.Int16()
	req := w.key.Request()
	if _, ok := served[w.key]; !ok || req == nil {
		return refuse("key", "API key %d", w.key)
	}
	// Clients begin with the newest ApiVersions that they know, and learn from the answer which one the broker serves.
	if w.version < least[w.key] || w.version > newestOf(req) && w.key != kmsg.ApiVersions {
		return refuse("version", "%s version %d", w.key.Name(), w.version)
	}
	req.SetVersion(w.version)
	w.flexible = req.IsFlexible()
	w.Int32()                // the correlation ID
	w.UnsafeNullableString() // the client's name, which is never compact
	if w.flexible {
		w.tags()
	}
	if !w.goesOn() {
		return refuse("header", "%s with a header that is cut", w.key.Name())
	}
	body := w.Src
	if err := w.body(); err != nil {
		return err
	}
	return g.checkSense(req, body)
}
