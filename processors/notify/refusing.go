package notify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-metrics/weir/sinks"
)

// refusing remembers the receivers that refuse their address or credentials, until they accept
// something.
type refusing struct {
	mu    sync.Mutex
	since map[string]refusal // by ID
}

type refusal struct {
	since time.Time
	why   string // the last answer
}

// whyText bounds what a warning quotes of an answer, UTF-16 units.
const whyText = 200

// refused records such an answer; the time of the first one is kept.
func (r *refusing) refused(id string, now time.Time, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[string]refusal{}
	}
	one, known := r.since[id]
	if !known {
		one.since = now
	}
	one.why = sinks.Truncate(why, whyText)
	r.since[id] = one
}

// took records that the receiver accepted something.
func (r *refusing) took(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, id)
}

// clear forgets all.
func (r *refusing) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = nil
}

func (r *refusing) warning() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var each []string
	for _, id := range slices.Sorted(maps.Keys(r.since)) {
		one := r.since[id]
		each = append(each, fmt.Sprintf("receiver %s has been refusing its address or credentials since %s: %s", id, one.since.UTC().Format(time.RFC3339), one.why))
	}
	if len(each) == 0 {
		return ""
	}
	return strings.Join(each, "; ") + ". Alerts do not get there until somebody fixes the config or the receiver"
}

// Warning names the receivers that refuse their address or credentials, for /readyz; "" if there
// are none, or if this instance owns no partition, as others call the receivers then.
func (p *Processor) Warning() string {
	if len(p.owned()) == 0 {
		p.refusing.clear()
	}
	return p.refusing.warning()
}
