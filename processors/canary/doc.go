// Package canary sends samples of its own through all of weir, one series for each shard of samples,
// and measures how long they take to become an alert that notify has dealt with. While all of them
// come through in time, it may send a heartbeat to a service outside, which alarms when heartbeats
// stop: the dead-man's switch.
//
// # The way of a canary
//
// Each period, config every, the value of each series flips between 1 and 0, in one sample. The
// built-in rule (Rule), a shadow that tells nobody, fires while it is 1. So each sample becomes a
// window, a condition and a transition of an alert, which has come through when
//
//   - its record is read from the topic alerts: the histogram weir_canary_seconds is of that moment;
//   - and the consumer group of notify has committed a later offset: nothing that is before it in its
//     partition still waits for notify to take it into its ledger. That does not say that a receiver
//     was reached; weir_notify_* and /readyz speak of those.
//
// The samples go to the topic metrics directly, not through a gateway.
//
// # Contract
//
// A shard is late when its oldest canary that has not come through was sent longer than within ago.
// The first canary of a shard after a start or a reshard is never late: the alert may already be in
// the state that it should bring about. Until a canary of every shard has come through since then,
// there is no heartbeat, and there is none while a shard is late or has not been asked for two
// periods.
//
// Several processes may run the role: each has series of its own, and its own heartbeat.
package canary
