// Package alerts decides what is wrong: it reads rules, checks them on windows as
// they close, and moves an alert through its life. It is pure: no clock, no
// goroutine, no I/O; it parses the bytes and uses the times that it is given.
//
// # Contract
//
//   - [Load] makes a [RuleSet], which is immutable and may be shared, or reports
//     every fault of every file at once as conf.Faults.
//   - An [Evaluator] belongs to one partition and is not safe for concurrent use.
//     The [State] is the series group's: the caller keeps it beside the group's
//     windows, persists it with [State.Append] and brings it back with [DecodeState].
//   - [Evaluator.Closed] takes windows that closed together and appends a condition
//     for each rule and label set that is true, one per window end, and one more
//     when it has become false. A healthy series makes none and allocates nothing.
//   - [Evaluator.Advance] ends conditions whose series fell silent or whose rule is
//     gone. [State.DueMS] says when it has something to do.
//   - Both are deterministic, and the same windows given again (a replay after a
//     crash) give the same conditions again, revision included.
//   - [Step] turns a condition into the alert's next state, and is idempotent:
//     a condition at or below (LastMS, LastRev) changes nothing.
//
// # Rules
//
// An expression is over the series of one label set: metrics are joined if all
// their labels are the same (PromQL's one-to-one matching). It is evaluated when a
// window of one of its metrics closes, on the rule's tier, at that window's end T.
//
//   - A metric's name is the last value of its newest window that ends in
//     (T-no_data, T]; no_data is 5m unless given, Prometheus's lookback.
//   - A function of (metric, "5m") is over the windows that end in (T-5m, T]; those that
//     are there, if some are missing. functions.go has the table of all functions.
//   - What is missing, NaN or infinite (x / 0) is unknown, as in SQL: a comparison
//     with it is neither true nor false, and an unknown rule is not true.
//   - A true condition ends when the expression is not true, or if the rule has
//     recover, when that is true; and when no window came for no_data.
//   - The series of one host must be in one series group to be joined; rules over
//     several groups (by) are refused.
//
// # Cost
//
// Of a window of a series that is well, on a loaded 2-core machine: 80 ns for
// up == 0, 120 ns for avg over 30 windows, 70 ns for each of the two windows of
// used / total, nothing allocated (BenchmarkClosed, TestHealthyAllocatesNothing).
// The state of avg over 30 windows is 290 bytes a series, of a bare metric 26 (encoded).
package alerts
