// Package ruletest runs rule tests: text files that a rule's author can read and
// write, with rules, the values that series have in each window, and what is
// expected to come of them. It is pure, as alerts is: time is what the file says.
//
// A file is a list of cases. Each is a command, its input, a line "----" and the
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
//	up{host="web01"} 1 1 0x5 1
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
//     series' values ended. _ is a window without samples, 1x5 five times the value
//     1, 1+2x3 the values 1, 3 and 5, and 1/2/3 a window with three samples.
//   - run D: closes all windows that end by time D, oldest first, and prints the
//     transitions of alerts. run D conditions prints the conditions as well.
//   - revise D: replaces windows of the smallest tier that end at D by the input, as
//     late samples do, and prints as run conditions does.
//   - alerts: prints the alerts that are not inactive, their labels, value and
//     annotations.
package ruletest
