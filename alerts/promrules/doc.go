// Package promrules translates Prometheus's alerting rules, and promtool's tests of them, into weir's. It is pure.
//
// Contract:
//
//   - A rule is translated only if weir can say the same; what was left out is told with its line and the reason: rules, recording
//     rules, annotations and tests. Nothing is left out silently.
//   - What is translated and yet differs in detail, as weir's windows are not Prometheus's samples, is told as a note, also
//     in the file that is made.
//   - The rules that are made load (alerts.Load): each was loaded before it was taken.
//   - A test's times become later by one window of the smallest tier and its grace, as an alert comes when the window of its
//     sample has closed.
//
// # What has an equivalent
//
// Selectors with matchers, if all selectors of the expression agree (they become where); offset; arithmetic but % and atan2;
// comparisons as conditions, and with bool as numbers; and, or; the functions of translate.go's tables; time of day. A rule of weir sees the
// series of one label set, so there is no equivalent of aggregations, of joins on some labels and of unless, nor of absent,
// subqueries and @.
package promrules
