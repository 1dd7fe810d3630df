// Package alert is the processor of the group weir-alert: it keeps the life of every
// alert and sends each change to the topic alerts, the compacted alert store.
//
// Contract: an alert's life is alerts.Step's, exactness package writeback's; this
// package only joins them. A value of the group table is one alert, under its
// fingerprint. Sent are transitions and changes of what an alert says (its value,
// labels, annotations): an alert that fires on without a change is silent. Each record
// is the whole alert and its newest transition identifies it, so that a repeat after a
// crash is known.
//
// keep_firing_for counts in window ends, but only the wall clock says that nothing
// came. The deadline is keep_firing_for after the false condition's arrival. That leaves as
// much time for the windows after it, and holds for a replay of old samples as well.
//
// An alert that is over is forgotten, and its record of alerts deleted, when no
// condition came for Config.Forget.
//
// A record of conditions that does not decode, or stands under another key than its
// fingerprint, goes to deadletter with its reason and is counted; nothing stops the
// processor but the loss of its broker.
package alert
