package notify

import (
	"fmt"
	"strings"
	"time"

	"weir/schemas"
)

// unsent starts the result of a delivery that was FAILED without any call.
const unsent = "not sent: "

// told says whether receivers hear of the transition at all.
func told(t schemas.Transition) bool {
	return t.To == schemas.Firing || t.To == schemas.Resolved && t.From == schemas.Firing
}

// newDelivery is the PENDING delivery of the alert's newest transition. It leaves
// the history out, which no receiver is told, so that what fitted into a record of
// alerts fits into one of the ledger.
func newDelivery(a *schemas.Alert, receiver string) *schemas.Delivery {
	told := *a
	told.History = nil
	return &schemas.Delivery{
		Receiver: receiver, Fingerprint: a.Fingerprint, To: a.Last.To, AtMS: a.Last.AtMS,
		Status: schemas.DeliveryPending, Alert: &told,
	}
}

// stale returns why a delivery that was not called yet must not be, or "".
// entries is the ledger of the alert's partition; all times are ms.
func stale(d *schemas.Delivery, entries map[string]entry, nowMS, maxAgeMS int64) string {
	old := func(ms int64) bool { return nowMS-ms > maxAgeMS }
	if d.To == schemas.Firing {
		if seen := max(d.AtMS, d.Alert.LastTrueMS); old(seen) {
			return fmt.Sprintf("too old: last true %v ago, max_age is %v", ms(nowMS-seen), ms(maxAgeMS))
		}
		return ""
	}
	trigger := schemas.Delivery{Receiver: d.Receiver, Fingerprint: d.Fingerprint, To: schemas.Firing, AtMS: d.Alert.FiredMS}
	switch t, known := entries[trigger.Key()]; {
	case known && t.unsent:
		return "its trigger was not sent either"
	case !known && old(d.AtMS):
		return fmt.Sprintf("too old: resolved %v ago, max_age is %v", ms(nowMS-d.AtMS), ms(maxAgeMS))
	}
	return ""
}

// fail ends a delivery without a call.
func fail(d *schemas.Delivery, nowMS int64, result string) {
	d.Status = schemas.DeliveryFailed
	addAttempt(d, nowMS, result)
}

// maxAttempts is how many attempts an entry keeps.
const maxAttempts = 16

func addAttempt(d *schemas.Delivery, nowMS int64, result string) {
	d.Attempts = append(d.Attempts, schemas.Attempt{AtMS: nowMS, Result: result})
	if over := len(d.Attempts) - maxAttempts; over > 0 {
		d.Attempts = d.Attempts[over:]
	}
}

// entry is what is remembered of a delivery.
type entry struct {
	status schemas.DeliveryStatus
	unsent bool // FAILED, and surely no call was made
	atMS   int64
}

func entryOf(d *schemas.Delivery) entry {
	e := entry{status: d.Status, atMS: d.AtMS}
	if n := len(d.Attempts); n > 0 {
		e.unsent = d.Status == schemas.DeliveryFailed && strings.HasPrefix(d.Attempts[n-1].Result, unsent)
	}
	return e
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
