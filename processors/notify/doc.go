// Package notify tells receivers about alerts. It is the consumer group
// weir-notify on the topic alerts, and keeps a ledger of its deliveries in the
// compacted topic notification-log.
//
// # What is told
//
// An alert's transition to firing is told to every receiver whose match labels it has then. Its end
// is told to exactly those who were told that it fires, whatever has become of its labels, the
// rules or the receiver's match since, in the words of the trigger. What is due follows from the
// ledger (who knows that it fires) and the alert's state (whether it does), not from the newest
// record alone, whose predecessors may have been compacted away (observe). An instance that is
// given a partition looks up the alerts that are firing according to the ledger by reading alerts
// from its start (survey). Alerts of shadow rules are told to nobody; one that
// becomes a shadow while it fires ends for those who were told, and one that is a shadow no longer
// begins. An alert whose
// severity changes while it fires is told again, under the same key, to those who take the new
// severity, and ends for those who were told of a higher one and do not take the lower. An alert without a receiver is counted; so is the end that a receiver
// which is no longer in the config should have been told.
//
// A firing transition is not told, but entered as FAILED "too old", if neither it nor the last
// window in which the alert was true is within max_age of the wall clock: replaying old data pages
// nobody, while an alert that is still true after an outage of weir does page. A trigger whose
// alert is over is still sent, followed by its end, for max_age: PagerDuty opens an incident and
// closes it, a webhook and the console get a complete record, a phone learns what it missed. After
// that neither is sent, provided that the trigger certainly did not arrive. The end of a trigger
// that may have arrived is told however old it is, since an incident that stays open is worse.
//
// # How often
//
// A delivery is one transition to one receiver, schemas.Delivery.Key. It is written to the ledger
// as PENDING, with the alert, and acknowledged before the first call, and before the offset of the
// alert is committed; as PENDING again after each attempt that will be retried; and as SUBMITTED or
// FAILED at the end. A replay of alerts never restarts what is in the ledger. Whatever is PENDING
// when an instance starts, or is given the partition, is delivered again. So every transition is
// told at least once. It is told twice only if weir dies between a call and its entry, an answer is
// lost, an entry of the ledger cannot be read, or a process is suspended while it makes a call:
// PagerDuty recognizes the second by its dedup_key, and a webhook may by fingerprint and startsAt;
// SMS and voice calls cannot. The second comes before anything newer is told.
//
// # Order and pace
//
// For one receiver and one alert, deliveries are made in order and one at a time: a resolve waits
// until its trigger is SUBMITTED or FAILED. The last message that a receiver gets is right: if a
// process that was suspended in the middle of a call sends something late, the newest is sent once
// more after it (Ownership). Different alerts and receivers do not wait for each other. Whatever
// waits is in the ledger; memory holds an index of about 300 B for each alert and receiver, and
// bounded numbers of alerts (queue) and bytes (32 MiB), so that a receiver may be down for any
// length of time and holds up no other.
//
// All deliveries to receivers of one name share one budget (pace): it falls when the receiver says
// "later" (429, or 503 with Retry-After) and grows as it accepts. The most urgent alerts (label
// severity, config urgency) come first, and every third call is for a resolve. "later" counts
// against no delivery; Retry-After is honoured up to retry_after. Other retryable errors, and those
// that point to a wrong address or wrong credentials (sinks.DeliveryError), are retried with
// exponential backoff and jitter until max_elapsed of waits and calls is spent. When three
// deliveries in a row fail, one at a time asks whether the receiver is back, and the others wait
// without that counting. A receiver that refuses its address or credentials raises the alarm
// weir_notify_misconfigured, and is named on /readyz.
//
// # Records that cannot be read or written
//
// A record of alerts that does not decode, or has another key than its fingerprint, goes to
// deadletter, cut to size; the alert keeps its state. Letters hold up nobody. An entry of the
// ledger that does not decode is known by its key: its trigger is told again if the alert fires,
// and its end is told. An entry that no broker accepts is shortened, and otherwise continues from
// memory.
//
// # Ownership
//
// Entries are written to the partition of notification-log with the number of the alert's partition
// in alerts, so both topics have one partition count. An instance that is given a partition first
// reads that whole ledger partition; one that loses it lets calls in flight end, for at most 5 s,
// and writes their outcome.
//
// A process that is suspended (SIGSTOP, a frozen machine) is taken for dead, and later continues in
// the middle of what it was doing. What it would tell and enter then is no longer its own: it asks
// the group's coordinator first, whenever the last good answer is a second old (fence). What slips
// through, between the question and the act, is recognized by its term (term.go): every record of
// the ledger carries the term of its writer, and later owners have larger ones. Owners go by the
// entries of the largest term so far, watch the ledger for late ones of others, write their own
// over them, and send their last message again to a receiver that, by such an entry, was told
// something. Only a process that makes a call late and is killed before it has entered it leaves
// nothing by which that can be recognized.
//
// Entries that ended more than 30 days ago are deleted from the ledger, except the trigger of an
// alert that is not known to be over; so are all but the last 32 of an alert and receiver.
package notify
