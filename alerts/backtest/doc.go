// Package backtest says what rules would have done about recorded data: which alerts, when, for how long, how that
// differs from what other rules do, and which known incidents they catch. It is pure: whoever calls gives it samples
// or windows in order of time, and writes the reports somewhere.
//
// Contract:
//
//   - Rules are judged by package alerts on the windows of package windows, as in the processors (ruletest.Stream): an
//     alert has here the times, labels, value and reasons that it would have had.
//   - Data from before the report's time is played, so that ranges and alerts are what they were at its beginning,
//     but only alerts that fire within that time are told.
//   - Two sets of rules are played at once on the same windows. Their alerts are compared by rule (group/alert) and
//     series: two that were active at the same time are one, that fires earlier or later, or ends so.
//   - An alert catches an incident if it begins to fire within it and its labels include the incident's. A false alert
//     catches none. Incidents outside the report's time are told, not counted as missed.
//   - The same recording and rules give the same report, byte for byte.
package backtest
