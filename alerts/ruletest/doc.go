// Package ruletest runs rule tests: files that a rule's author can read and write, with rules, the
// values of series, and the expected outcome. Like alerts, it is pure: time is what the file says, and
// the caller reads the files.
//
// # Suites
//
// A Suite is a file in promtool's grammar, which `weir test` runs; docs/rules.md describes
// it. Its samples go through package windows and its conditions through package alerts, as
// they do in the processors window and alert. Contract:
//
//   - A sample arrives at its own time, in one record with the samples of its series group that
//     have the same time. Nothing lags: windows close as soon as their grace is over, and
//     keep_firing_for ends to the ms.
//   - Expectations of a time are checked after everything that is due then has happened.
//   - A test runs up to its last expectation, on its own: it leaves no state to the next.
//   - Samples that weir would refuse, because they are too many, fail the test.
//   - What would always pass is a fault: a file without tests, a test without expectations,
//     an alert that no rule has.
//
// # Streams
//
// A Stream plays a recording of any length in the same way, and reports each transition of an alert: package backtest is
// built on it. TestStreamIsTheSame compares it with a suite's run.
//
// # Traces
//
// A trace is a text file of cases, for weir's own tests: it plays windows rather than samples, and also
// reloads and late data. Each case is a command, its input, a line "----" and the expected output, up
// to a blank line. Lines between the cases that start with # are comments.
//
//	rules
//	- name: hosts
//	  rules:
//	  - alert: instance_down
//	    expr: up == 0
//	    for: 30s
//	----
//	1 rule
//
//	series
//	up{host="web01"} 1 1 0x4 1
//	----
//
//	run 2m
//	----
//	30s hosts/instance_down{host="web01"} inactive -> pending: true
//	1m hosts/instance_down{host="web01"} pending -> firing: true for long enough
//	1m20s hosts/instance_down{host="web01"} firing -> resolved: false
//
// The commands:
//
//   - tiers D…: sets the windows' lengths, 10s 1m 1h by default, and starts anew.
//   - rules: loads the rules of the input, a rules file. Alerts continue, as after a
//     reload. The output is the number of rules, or the faults.
//   - series: adds values to series, one series per line. Each value is for the next
//     window of the smallest tier, from 0s or where the series' values ended. The
//     notation is that of suites (_ is a window without samples); 1/2/3 is a window
//     with three samples.
//   - run D: closes all windows that end by time D, oldest first, and prints the
//     transitions of alerts. run D conditions also prints the conditions.
//   - revise D: replaces windows of the smallest tier that end at D by the input, as
//     late samples do, and prints what run conditions does.
//   - alerts: prints the alerts that are not inactive, with labels, value and
//     annotations.
package ruletest
