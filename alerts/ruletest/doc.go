// Package ruletest runs rule tests: files that a rule's author can read and write, with
// rules, the values of series, and what is expected to come of them. It is pure, as alerts
// is: time is what the file says, and files are read by whoever calls.
//
// # Suites
//
// A Suite is a file in promtool's grammar, which `weir test` runs; docs/rules.md describes
// it. Its samples go through package windows and its conditions through package alerts, as
// they do in the processors window and alert. Contract:
//
//   - A sample arrives at the time that it bears, in one record with the others of its series
//     group of that time. Nothing lags: windows close as soon as their grace is over, and
//     keep_firing_for ends to the ms.
//   - At a time of which something is expected, what is due then has happened.
//   - A test runs up to its last expectation, and by itself: no state is left to the next.
//   - Samples that weir would refuse, as they are too many, fail the test.
//   - What would always pass is a fault: a file without tests, a test without expectations,
//     an alert that no rule has.
//
// # Streams
//
// A Stream plays a recording in the same way, however long it is, and tells what becomes of each alert: package
// backtest is built on it. TestStreamIsTheSame compares it with a suite's run.
//
// # Traces
//
// A trace is a text file of cases, for weir's own tests: it plays windows, not samples, and
// also reloads and late data. Each case is a command, its input, a line "----" and the
// output that is expected, up to a blank line. Lines that start with # between the
// cases are comments.
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
//   - tiers D…: the windows' lengths; 10s 1m 1h unless given. Starts anew.
//   - rules: loads the rules of the input, a rules file. What ran goes on, as after
//     a reload. The output is how many there are, or the faults.
//   - series: adds values to series, one series a line. Each value is that of the
//     next window of the smallest tier, the first starts at 0s, or where the
//     series' values ended. The notation is that of suites (_ is a window without
//     samples), and 1/2/3 is a window with three samples.
//   - run D: closes all windows that end by time D, oldest first, and prints the
//     transitions of alerts. run D conditions prints the conditions as well.
//   - revise D: replaces windows of the smallest tier that end at D by the input, as
//     late samples do, and prints as run conditions does.
//   - alerts: prints the alerts that are not inactive, their labels, value and
//     annotations.
package ruletest
