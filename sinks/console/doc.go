// Package console tells alerts to whoever watches weir's output: a block of lines on a writer. The
// structured log record of a delivery is written by the notify processor.
//
// Contract: a notification is one Write, so that blocks do not mix. An error of
// the writer is a *sinks.DeliveryError that is not retried. Control characters in
// labels do not reach the terminal.
package console
