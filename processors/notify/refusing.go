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

// refusing knows the receivers that refuse their address or credentials, until they
// accept something.
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

// refused notes such an answer; of several, the first says since when.
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

// took notes that the receiver accepted something.
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
		each = append(each, fmt.Sprintf("receiver %s refuses its address or credentials since %s: %s", id, one.since.UTC().Format(time.RFC3339), one.why))
	}
	if len(each) == 0 {
		return ""
	}
	return strings.Join(each, "; ") + ". Alerts are not told there until somebody mends the config or the receiver"
}

// Warning names the receivers that refuse their address or credentials, for readyz; "" if
// there are none, or no partition is this instance's: then another calls them.
func (p *Processor) Warning() string {
	if len(p.owned()) == 0 {
		p.refusing.clear()
	}
	return p.refusing.warning()
}
