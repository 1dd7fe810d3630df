package alert

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/processors/deadletter"
	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// life is the value of a key.
type life struct {
	alert *schemas.Alert // nil: there never was one, or it has been forgotten
	// seenMS is when the last condition that changed it arrived, wall clock, ms.
	seenMS int64
	// forgetMS is when the alert is forgotten, wall clock, ms; 0 while it is not over.
	forgetMS int64
	// lostMS is when the life that this one replaces was lost, ms; 0: none was.
	lostMS int64
}

// A partition's alerts share nothing.
type (
	none      struct{}
	partition = writeback.Partition[life, none]
	entry     = writeback.Entry[life, none]
)

// logic implements writeback.Logic.
type logic struct {
	forgetMS int64
	log      *slog.Logger
	letters  *deadletter.Limiter

	conditions  *prometheus.CounterVec // by result
	transitions *prometheus.CounterVec // by state
	shadows     *prometheus.CounterVec // by state, of shadow rules
	refused     *prometheus.CounterVec // by reason
	forgotten   prometheus.Counter
}

func (l *logic) Open(*partition) *none        { return nil }
func (l *logic) New(*partition, string) *life { return &life{} }
func (l *logic) Gone(v *life) bool            { return v.alert == nil && v.lostMS == 0 }
func (l *logic) Decode(_ *partition, _ string, b []byte) (*life, error) {
	return decodeLife(b)
}

// Lost implements writeback.Logic.
func (l *logic) Lost(_ *partition, v *life, atMS int64) { v.lostMS = atMS }

// reasonLost is why an alert resolves whose life was lost before it was over.
const reasonLost = "its state was lost, and its condition is false"

// afterLoss returns the alert after a false condition if everything known about it was lost: it may
// have been firing, and receivers that were told so must be told the end.
func afterLoss(c *schemas.Condition) *schemas.Alert {
	last := schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: c.EndMS, Reason: reasonLost, Shadow: c.Shadow}
	return &schemas.Alert{Fingerprint: c.Fingerprint, Rule: c.Rule, Group: c.Group, Labels: c.Labels, Annotations: c.Annotations,
		State: schemas.Resolved, ActiveMS: c.EndMS, FiredMS: c.EndMS, ResolvedMS: c.EndMS, LastMS: c.EndMS, LastRev: c.Revision,
		LastTrueMS: c.EndMS - 1, ForMS: c.ForMS, KeepMS: c.KeepMS, TierMS: c.TierMS, Last: last, History: []schemas.Transition{last},
		Shadow: c.Shadow}
}

// lifeVersion is the first byte of a value: its times follow as varints, then the alert, if there
// is one, as in the topic alerts. Version 1 has no lostMS.
const lifeVersion = 2

func (l *logic) Append(_ *partition, dst []byte, v *life) []byte {
	dst = binary.AppendVarint(append(dst, lifeVersion), v.seenMS)
	dst = binary.AppendVarint(dst, v.forgetMS)
	dst = binary.AppendVarint(dst, v.lostMS)
	if v.alert != nil {
		dst = append(dst, schemas.EncodeDoc(v.alert)...)
	}
	return dst
}

func decodeLife(b []byte) (*life, error) {
	if len(b) == 0 || b[0] == 0 || b[0] > lifeVersion {
		return nil, fmt.Errorf("life of an alert: %w", schemas.ErrVersion)
	}
	v := &life{}
	times := []*int64{&v.seenMS, &v.forgetMS, &v.lostMS}
	if b[0] == 1 {
		times = times[:2]
	}
	b = b[1:]
	for _, ms := range times {
		n := 0
		if *ms, n = binary.Varint(b); n <= 0 {
			return nil, fmt.Errorf("life of an alert: %w", schemas.ErrCorrupt)
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return v, nil
	}
	var err error
	v.alert, err = schemas.DecodeDoc[schemas.Alert](b)
	return v, err
}

func (l *logic) Apply(p *partition, e *entry, r writeback.Record) {
	c, err := schemas.DecodeDoc[schemas.Condition](r.Value)
	if err != nil {
		l.refuse(p, e, r, "undecodable", err)
		return
	}
	if c.Fingerprint != e.Key {
		l.refuse(p, e, r, "wrong_key", fmt.Errorf("fingerprint %q", c.Fingerprint))
		return
	}
	next, changed := alerts.Step(e.V.alert, c)
	if e.V.alert == nil && !c.True && e.V.lostMS > 0 {
		next, changed = afterLoss(c), true
	}
	if !changed {
		l.conditions.WithLabelValues("none").Inc()
		return
	}
	if moved(e.V.alert, next) {
		l.conditions.WithLabelValues("transition").Inc()
	} else {
		l.conditions.WithLabelValues("update").Inc()
	}
	l.become(p, e, next, r.TimeMS)
}

// become makes next the alert, as of a wall time, and sends it if it shows anything new.
func (l *logic) become(p *partition, e *entry, next *schemas.Alert, wallMS int64) {
	before := e.V.alert
	e.V.alert, e.V.seenMS, e.V.forgetMS = next, wallMS, 0
	if next.State == schemas.Inactive || next.State == schemas.Resolved {
		e.V.forgetMS = wallMS + l.forgetMS
	}
	if moved(before, next) {
		l.count(before, next)
	} else if sameText(before, next) {
		return
	}
	e.Emit(p, topics.Alerts, []byte(e.Key), schemas.EncodeDoc(next))
}

// count counts the transitions that lead from one state of an alert to the next.
func (l *logic) count(before, next *schemas.Alert) {
	news := next.History
	if before != nil {
		news = news[slices.Index(news, before.Last)+1:]
	}
	for _, t := range news {
		if t.Shadow {
			l.shadows.WithLabelValues(string(t.To)).Inc()
		} else {
			l.transitions.WithLabelValues(string(t.To)).Inc()
		}
	}
}

func moved(before, next *schemas.Alert) bool { return before == nil || before.Last != next.Last }

// sameText reports whether two alerts show the same.
func sameText(a, b *schemas.Alert) bool {
	return a.Value == b.Value && a.Reason == b.Reason && a.Shadow == b.Shadow && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// Due returns when keep_firing_for resolves the alert, or when it is forgotten.
func (l *logic) Due(v *life) int64 {
	switch {
	case v.alert == nil && v.lostMS > 0:
		return v.lostMS + l.forgetMS
	case v.alert == nil:
		return 0
	}
	if alerts.Due(v.alert) > 0 {
		return v.seenMS + v.alert.KeepMS
	}
	return v.forgetMS
}

// Until returns the tick's time: the windows have already waited for whatever conditions depend on.
func (l *logic) Until(_ *life, t *schemas.Tick) int64 { return t.NowMS }

func (l *logic) Tick(p *partition, e *entry, nowMS, _ int64) {
	if e.V.alert == nil { // lost, and nothing has come since
		*e.V = life{}
		return
	}
	due := alerts.Due(e.V.alert)
	if next, changed := alerts.Expire(e.V.alert, due); due > 0 && changed {
		l.become(p, e, next, nowMS)
		return
	}
	*e.V = life{}
	l.forgotten.Inc()
	e.Emit(p, topics.Alerts, []byte(e.Key), nil)
}

func (l *logic) refuse(p *partition, e *entry, r writeback.Record, reason string, err error) {
	l.refused.WithLabelValues(reason).Inc()
	l.log.Warn("condition refused", "fingerprint", e.Key, "partition", p.ID, "offset", r.Offset, "reason", reason, "err", err)
	letter := deadletter.Of(&kgo.Record{Topic: topics.Conditions, Partition: p.ID, Offset: r.Offset, Key: []byte(e.Key), Value: r.Value},
		"alert", reason, err)
	if l.letters.Admit(letter, time.Now()) {
		e.Deadletter(p, letter)
	}
}
