// Package topics defines every topic that weir uses, in one place, and creates
// those that are missing.
//
// Contract: topics are made here and nowhere else, before any consumer starts;
// Goka runs with topic creation off. An existing topic is never altered: one
// whose partitions or cleanup do not fit is an error that names both values.
// samples, windows and the window table have one partition count, the shards;
// conditions, alerts and the alert table have another, so that the alerts stay
// where they are when the windows are resharded.
package topics
