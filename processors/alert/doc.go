// Package alert is the processor of the group weir-alert: it keeps the state of every alert and
// sends each change to the topic alerts, the compacted alert store.
//
// Contract: an alert's life is defined by alerts.Step, and exactness by package writeback; this
// package only joins them. A value of the group table is one alert, under its fingerprint.
// Transitions are sent, and changes of what an alert shows (its value, labels, annotations); an
// alert that keeps firing without a change is silent. Each record is the whole alert and its newest
// transition identifies it, so that a repeat after a crash is recognized.
//
// keep_firing_for counts in window ends, but only the wall clock can tell that nothing came. The
// deadline is keep_firing_for after the false condition's arrival. That leaves the same time for
// the windows after it, and also works for a replay of old samples.
//
// An alert that is over is forgotten, and its record in alerts deleted, when no condition has come
// for Config.Forget.
//
// A record of conditions that does not decode, or has another key than its fingerprint, goes to
// deadletter with its reason and is counted; nothing stops the processor except the loss of its
// broker.
package alert
