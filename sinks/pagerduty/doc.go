// Package pagerduty tells alerts to a PagerDuty service through its Events API v2:
// a firing transition as a trigger, a resolved one as a resolve, both with the
// alert's dedup_key, so that telling the same twice changes nothing.
//
// Contract: one call per Notify and no retry. 202 is success. Every error is a *sinks.DeliveryError
// with the status, the start of the answer and Retry-After, which go-pagerduty itself loses. No
// error contains the routing key.
package pagerduty
