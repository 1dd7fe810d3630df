// Package backtest works out what rules would have done on recorded data: which alerts they would have fired, when and
// for how long, how that differs from what other rules would have done, and which known incidents they would have caught.
// It is pure: the caller passes samples or windows in order of time, and decides where the reports go.
//
// Contract:
//
//   - Package alerts judges the rules on the windows of package windows, as in the processors (ruletest.Stream): an
//     alert gets the times, labels, value and reasons that it would have had in weir.
//   - Data from before the report's time is played as well, so that ranges are full and alerts have their state when the
//     time begins, but the report has only alerts that fire within the time.
//   - Two sets of rules are played at once, on the same windows. Their alerts are matched by rule (group/alert) and
//     series: two alerts that were active at the same time are one alert, which fires or ends at different times.
//   - An alert catches an incident if it begins to fire within the incident and its labels include the incident's. An
//     alert that catches no incident is false. Incidents outside the report's time are listed, but not counted as missed.
//   - The same recording and rules give the same report, byte for byte.
package backtest
