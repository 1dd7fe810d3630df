// Package sinks is where results leave weir, behind two interfaces: a TierStore keeps closed
// windows for as long as their tier says (packages embedded and scylla), and a Notifier tells
// somebody about an alert (packages console, webhook, pagerduty, twilio). Package sinktest is the
// conformance suite of tier stores.
//
// Contract of every TierStore:
//
//   - WriteWindows returns nil only when everything that it took is durable. It bridges outages
//     itself: it keeps trying until its context ends. Whatever no later try would change it returns
//     as ErrRefused, once the rest is durable.
//   - A row is identified by (source, series, tier, start, part). Writing it again is a no-op, a
//     higher revision replaces a lower one, and a lower one that comes later changes nothing, in
//     whatever order and from however many writers.
//   - A row lives until the tier's TTL has passed since its window's end, no matter when it was
//     written; a row that comes later than that is counted but not kept.
//   - Readers see the parts of a window merged into one.
//
// Every method may be called concurrently. Times are ms since the Unix epoch.
package sinks
