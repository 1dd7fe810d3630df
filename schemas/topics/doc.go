// Package topics defines every topic that weir uses, in one place, and creates
// those that are missing.
//
// Contract: topics are made here and nowhere else, before any consumer starts; Goka runs with topic
// creation off. An existing topic is never altered: if its partitions or cleanup policy do not fit,
// the error names both values. samples, windows and the window table have one partition count, the
// shards of the first generation; later generations have a samples topic and a table of their own
// (OfGeneration). A samples topic or window table that somebody enlarged by hand is taken as it is:
// the extra partitions stay empty. conditions, alerts and the alert table have a partition count of
// their own, so that alerts stay where they are when the windows are resharded.
package topics
