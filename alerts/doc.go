// Package alerts decides what is wrong: it reads rules, evaluates them on windows as they close,
// and moves an alert through its life. It is pure: no clock, no goroutine, no I/O; it parses the
// bytes and uses the times that it is given.
//
// # Contract
//
//   - [Load] makes a [RuleSet], which is immutable and may be shared, or reports
//     every fault of every file at once as conf.Faults.
//   - An [Evaluator] belongs to one partition and is not safe for concurrent use. The [State]
//     belongs to the series group: the caller keeps it beside the group's windows, persists it with
//     [State.Append] and restores it with [DecodeState].
//   - [Evaluator.Closed] takes windows that closed together and appends a condition for each rule
//     and label set that is true, one per window end, and one more when it has become false. A
//     healthy series produces none and allocates nothing.
//   - [Evaluator.Advance] ends conditions whose series fell silent or whose rule is gone.
//     [State.DueMS] tells when it has something to do.
//   - Both are deterministic: the same windows given again (a replay after a crash) give the same
//     conditions again, including revisions.
//   - [Evaluator.Uses] tells what was seen of each rule, after [Evaluator.CountFrom] and a [Evaluator.Count]
//     of each state. Evaluations are timed by the clock that the caller gives, if any.
//   - [Step] turns a condition into the alert's next state, and is idempotent:
//     a condition at or below (LastMS, LastRev) changes nothing.
//
// # Rules
//
// An expression ranges over the series of one label set: metrics are joined if all their labels are
// the same (PromQL's one-to-one matching). It is evaluated when a window of one of its metrics
// closes, on the rule's tier, at that window's end T.
//
//   - A metric's name is the last value of its newest window that ends in (T-no_data, T]; no_data
//     defaults to 5m, Prometheus's lookback.
//   - A function of (metric, "5m") covers the windows that end in (T-5m, T]. It has a value once they
//     tell enough (rule.covers in coverage.go). functions.go has the table of all functions.
//   - A value that is missing, NaN or infinite (x / 0) is unknown, as in SQL: a comparison with it
//     is neither true nor false, and an unknown rule is not true.
//   - A true condition ends when the expression is not true, or, if the rule has recover, when that
//     is true; and when no window has come for no_data.
//   - To be joined, series must be in one series group; rules over several groups (by) are refused.
//
// # Cost
//
// For one window of a healthy series, on a 2-core machine: 50 ns for up == 0, 90 ns for avg
// over 30 windows, 45 ns for each of the two windows of used / total, with nothing allocated
// (BenchmarkClosed, TestHealthyAllocatesNothing). The state of avg over 30 windows takes 310 bytes
// a series, that of a bare metric 26 (encoded).
package alerts
