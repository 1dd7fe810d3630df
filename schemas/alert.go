package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Condition is the value of a record of the conditions topic: a rule's expression was true for one
// label set at a window's end, or it was true before and no longer is. Healthy series produce none.
// The record's key is the alert's fingerprint as text.
type Condition struct {
	Rule        string            `json:"rule"`        // group/alert, unique among the rules
	Fingerprint string            `json:"fingerprint"` // 32 hex digits, from rule, group and labels (16 if the alert began before weir used 32)
	Group       string            `json:"group"`       // the series group in which it was seen
	Labels      map[string]string `json:"labels"`      // of the alert: alertname, the series' and the rule's
	Annotations map[string]string `json:"annotations,omitempty"`
	EndMS       int64             `json:"end_ms"`   // end of the window that was checked
	Revision    uint32            `json:"revision"` // revision of that window
	True        bool              `json:"true"`
	Reason      string            `json:"reason,omitempty"` // why it is false: "false", "recovered", "no data", "rule removed"; or "no data" of one that is true for that
	Value       float64           `json:"value"`            // left side of the comparison, or 1
	ForMS       int64             `json:"for_ms,omitempty"`
	KeepMS      int64             `json:"keep_ms,omitempty"` // keep_firing_for
	TierMS      int64             `json:"tier_ms"`
	Shadow      bool              `json:"shadow,omitempty"` // of a shadow rule, which pages nobody
	Levels      []Level           `json:"levels,omitempty"` // of a rule with several severities, the mildest first
	Level       int               `json:"level,omitempty"`  // the index of the highest of Levels that is true
}

// Level is a severity of a rule that has several, and for how long its condition must have been true.
type Level struct {
	Severity string `json:"severity"`
	ForMS    int64  `json:"for_ms,omitempty"`
}

// TemplateFault begins a label or annotation whose template failed; the failed template follows,
// and a >. The alert is sent with it. Nobody knows what such a label should have been, so receivers
// that match on the label take the alert.
const TemplateFault = "<error expanding template: "

// ReasonNoData is the reason of a condition that is false, or of an alert that ended, because the
// windows of its series stopped coming.
const ReasonNoData = "no data"

// CanaryRule is the built-in rule by which weir watches itself (processors/canary). Views of alerts
// leave it out.
const CanaryRule = "weir/weir_canary"

// ReasonPromoted is the reason of a transition from firing to firing of an alert whose rule is a shadow
// no longer.
const ReasonPromoted = "its rule is a shadow no longer"

// AlertState is where an alert is in its life.
type AlertState string

// The four states. Inactive alerts are not published.
const (
	Inactive AlertState = "inactive"
	Pending  AlertState = "pending"
	Firing   AlertState = "firing"
	Resolved AlertState = "resolved"
)

// Transition is one change of state, at a window's end. Notifications are keyed by it, so that no
// transition is told twice.
type Transition struct {
	From   AlertState `json:"from"`
	To     AlertState `json:"to"`
	AtMS   int64      `json:"at_ms"` // the window end that decided it
	Reason string     `json:"reason"`
	Shadow bool       `json:"shadow,omitempty"` // of a shadow rule: nobody is told
	// Severity is the alert's from then on, if its rule has several; from firing to firing, it changed.
	Severity string `json:"severity,omitempty"`
	Falls    bool   `json:"falls,omitempty"` // the severity became a milder one
}

// Alert is the value of a record of the alerts topic: the whole state of one
// alert after its last transition or update. Key: Fingerprint.
type Alert struct {
	Fingerprint string            `json:"fingerprint"`
	Rule        string            `json:"rule"`
	Group       string            `json:"group"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	State       AlertState        `json:"state"`
	ActiveMS    int64             `json:"active_ms"`             // first window end at which the condition was true
	FiredMS     int64             `json:"fired_ms,omitempty"`    // when it became firing
	ResolvedMS  int64             `json:"resolved_ms,omitempty"` // when it was resolved
	LastMS      int64             `json:"last_ms"`               // last window end that was seen
	LastTrueMS  int64             `json:"last_true_ms"`
	LastRev     uint32            `json:"last_rev"`
	Value       float64           `json:"value"`
	ForMS       int64             `json:"for_ms,omitempty"`
	KeepMS      int64             `json:"keep_ms,omitempty"`
	TierMS      int64             `json:"tier_ms"`
	Reason      string            `json:"reason,omitempty"`   // why its condition is false; "" while it is true, or ReasonNoData if that is why
	Last        Transition        `json:"last"`               // the newest transition
	History     []Transition      `json:"history,omitempty"`  // the last 16, oldest first
	Shadow      bool              `json:"shadow,omitempty"`   // its rule is a shadow: nobody is told
	Severity    string            `json:"severity,omitempty"` // if its rule has several; also a label
	// SinceMS has, for each level of the rule, the first window end from which on at least that level
	// was true, ms, or 0; BeforeMS is the same as of the end before LastMS, from which a revision of
	// LastMS starts again.
	SinceMS  []int64 `json:"since_ms,omitempty"`
	BeforeMS []int64 `json:"before_ms,omitempty"`
}

// NoDataSinceMS is, for an alert that ended because its series fell silent, the end of the last
// window before that, ms; 0 for every other alert.
func (a *Alert) NoDataSinceMS() int64 {
	if a.State == Firing || a.State == Pending {
		return 0
	}
	reason := a.Reason
	if reason == "" && a.State == Resolved { // written before there was Reason
		reason = a.Last.Reason
	}
	if reason != ReasonNoData {
		return 0
	}
	return a.LastTrueMS
}

// DedupKey is the key under which receivers know this alert (PagerDuty's
// dedup_key): the same for trigger and resolve, at most 255 characters.
func (a *Alert) DedupKey() string { return "weir/" + a.Fingerprint }

// DeliveryStatus is how far a notification got.
type DeliveryStatus string

// A delivery is written as PENDING before the first call to its receiver, and as
// SUBMITTED or FAILED after the last.
const (
	DeliveryPending   DeliveryStatus = "PENDING"
	DeliverySubmitted DeliveryStatus = "SUBMITTED"
	DeliveryFailed    DeliveryStatus = "FAILED"
)

// Attempt is one call to a receiver.
type Attempt struct {
	AtMS   int64  `json:"at_ms"`
	Result string `json:"result"` // "202 accepted", or the error, without secrets
}

// Heard tells what is known about whether a receiver heard of a transition.
type Heard string

// An entry without Heard was written by a version of weir that did not record it.
const (
	HeardNo    Heard = "no"    // no call was made, or every call was certainly refused
	HeardMaybe Heard = "maybe" // an answer was lost, so the call may have been taken
	HeardYes   Heard = "yes"
)

// Delivery is an entry of the notification ledger: one transition of one alert to
// one receiver. Key: Delivery.Key.
type Delivery struct {
	Receiver    string         `json:"receiver"`
	Fingerprint string         `json:"fingerprint"`
	To          AlertState     `json:"to"` // firing or resolved
	AtMS        int64          `json:"at_ms"`
	Seq         int64          `json:"seq,omitempty"` // orders the entries of one receiver and alert; 0 before all others
	Status      DeliveryStatus `json:"status"`
	Heard       Heard          `json:"heard,omitempty"`
	Attempts    []Attempt      `json:"attempts,omitempty"` // the last 16
	Alert       *Alert         `json:"alert,omitempty"`    // while PENDING: what to send after a restart
	Told        *Alert         `json:"told,omitempty"`     // for a trigger that ended: what was said, so that the end can say the same
}

// Key identifies the delivery in the ledger's compacted topic.
func (d *Delivery) Key() string {
	return d.Receiver + "/" + d.Fingerprint + "/" + string(d.To) + "/" + itoa(d.AtMS)
}

const docVersion = 1

// ErrVersion is wrapped by every decoder that meets a version it does not know.
var ErrVersion = errors.New("unknown version")

// ErrCorrupt is wrapped by every decoder whose input is not consistent.
var ErrCorrupt = errors.New("corrupt")

// doc is what is kept as a version byte and JSON: at most a few thousand values a second, with
// fields added over time.
type doc interface {
	Condition | Alert | Delivery | Generations | ShardReport | Progress | Member
}

// EncodeDoc encodes a condition, an alert, a delivery, generations, a report or a member as a
// version byte and JSON. It cannot fail: none of the types holds anything that JSON cannot express
// (Value is finite).
func EncodeDoc[T doc](v *T) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schemas: %T %+v: %v", v, v, err)) // a NaN that alerts let through: a bug
	}
	return append([]byte{docVersion}, b...)
}

// DecodeDoc reads what EncodeDoc wrote. It returns ErrVersion or ErrCorrupt, wrapped.
func DecodeDoc[T doc](b []byte) (*T, error) {
	v := new(T)
	if len(b) == 0 {
		return nil, fmt.Errorf("%T: empty: %w", v, ErrCorrupt)
	}
	if b[0] != docVersion {
		return nil, fmt.Errorf("%T: version %d: %w", v, b[0], ErrVersion)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return nil, fmt.Errorf("%T: %v: %w", v, err, ErrCorrupt)
	}
	return v, nil
}
