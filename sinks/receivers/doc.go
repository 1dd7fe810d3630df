// Package receivers makes the notifiers that a config names.
//
// Contract: an entry of the list has a name, the labels that it takes, and exactly one of console,
// webhook, pagerduty and twilio. Build is given a valid list and cannot fail; a Twilio entry with
// several numbers becomes one receiver for each.
package receivers
