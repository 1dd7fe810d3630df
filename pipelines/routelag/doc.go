// Package routelag knows how far route, in whatever processes, is with each partition of metrics, and the clocks of others.
//
// Contract: a tick that [Lag.Complete] completed says up to when each partition was handed on; windows are closed by the clock
// no further than that. Until something was read it knows nothing, and nothing is closed by the clock. The time of a tick is the
// middle one of this process's clock, route's and the broker's, so that one wrong clock does no harm.
package routelag
