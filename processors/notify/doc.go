// Package notify tells receivers about alerts. It is the consumer group
// weir-notify on the topic alerts, and keeps a ledger of its deliveries in the
// compacted topic notification-log.
//
// # What is told
//
// An alert whose newest transition is to firing, or from firing to resolved, is
// told to every receiver whose match labels it has. An alert without a receiver
// is counted.
//
// A firing transition is not told, but entered as FAILED "too old", when neither it
// nor the last window in which the alert was true is within max_age of the wall
// clock: replaying old data pages nobody, while an alert that is still true after
// an outage of weir does page. A resolve is told however old it is when its trigger
// was told, since an incident that stays open is worse; it is entered as FAILED when its
// trigger was too old, or is unknown while the resolve itself is older than max_age.
//
// # How often
//
// A delivery is one transition to one receiver, schemas.Delivery.Key. It is
// written to the ledger as PENDING, with the alert, and acknowledged before the
// first call, and before the offset of the alert is committed; as PENDING again after
// each attempt that will be retried; and as SUBMITTED or FAILED at the end. What is
// in the ledger is never started again by a replay of alerts. What is PENDING when an instance
// starts, or is given the partition, is delivered again. So every transition is
// told at least once. It is told twice only if weir dies between a call and its
// entry, or an answer is lost: PagerDuty recognizes the second by its dedup_key and
// a webhook may by fingerprint and startsAt; SMS and voice calls cannot.
//
// # Order and failure
//
// For one receiver and one alert, deliveries are made in order and one at a time: a
// resolve waits until its trigger is SUBMITTED or FAILED. Different alerts and
// receivers do not wait for each other; each receiver has a bounded number of
// calls in flight and of deliveries pending, beyond which a delivery is FAILED.
// Errors that are retryable (sinks.DeliveryError) are retried with exponential
// backoff and jitter until max_elapsed. Retry-After is honoured, and holds all
// calls to the receiver; one that reaches beyond max_elapsed ends the delivery.
//
// # Ownership
//
// Entries are written to the partition of notification-log that has the number of
// the alert's partition in alerts, so both topics have one partition count. An instance
// that is given a partition first reads that ledger partition whole; one that
// loses it lets calls in flight end, at most 5 s, and writes what they got.
// Entries that ended more than 30 days ago are deleted from the ledger.
package notify
