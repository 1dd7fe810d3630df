// Package console tells alerts to whoever watches weir's output: a block of lines
// on a writer, and a structured log record.
//
// Contract: a notification is one Write, so that blocks do not mix. An error of
// the writer is a *sinks.DeliveryError that is not retried. Control characters in
// labels do not reach the terminal.
package console
