// Package operations holds what an operator runs beside weir: check, test, fold, replay, top, shards, reshard and the agent. Each is
// a struct of its settings with a Run; package main makes them from the flags.
//
// Contract: an operation returns when its context ends and leaves nothing half done that it cannot go on with. What it finds
// wrong with its settings it returns as conf.Faults that name the flags. Long ones show their progress.
package operations
