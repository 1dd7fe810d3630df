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
package alerts
