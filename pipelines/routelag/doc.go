// Package routelag knows how far route, in whatever processes, has handed on each partition of metrics, and what clocks others have.
//
// Contract: a tick that [Lag.Complete] has completed says up to what time each partition was handed on; the clock closes windows
// no further than that. Until something has been read, nothing is known and the clock closes nothing. A tick's time is the median
// of this process's clock, route's and the broker's, so that one wrong clock does no harm.
package routelag
