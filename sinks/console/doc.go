// Package console tells alerts to whoever watches weir's output: a block of lines
// on a writer. The structured log record of a delivery is the notify processor's.
//
// Contract: a notification is one Write, so that blocks do not mix. An error of
// the writer is a *sinks.DeliveryError that is not retried. Control characters in
// labels do not reach the terminal.
package console
