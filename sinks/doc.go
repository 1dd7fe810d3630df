// Package sinks is where results leave weir, behind two interfaces: a TierStore
// keeps closed windows for the time their tier says (packages embedded and
// scylla), and a Notifier tells somebody of an alert (packages console, webhook,
// pagerduty, twilio). Package sinktest is the conformance suite of tier stores.
//
// Contract of every TierStore:
//
//   - WriteWindows returns nil only when everything it took is durable. An outage
//     is its own to bridge: it goes on trying until its context ends. What no
//     later try would change it returns as ErrRefused, after the rest is durable.
//   - A row is known by (source, series, tier, start, part). Writing it again is a
//     no-op, a higher revision replaces a lower one, and a lower one that comes
//     later changes nothing, in whatever order and from however many writers.
//   - A row lives until the tier's TTL has passed since its window's end, no matter
//     when it was written; one that comes later than that is counted and not kept.
//   - Readers see the parts of a window merged into one.
//
// Every method may be called concurrently. Times are ms since the Unix epoch.
package sinks
