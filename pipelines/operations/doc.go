// Package operations holds what an operator runs beside weir: check, test, backtest, import, fold, replay, top, shards, reshard
// and the agent. Each is a struct of its settings with a Run, the agent a function; package main makes them from the flags.
//
// Contract: an operation returns when its context ends. What it leaves half done, it can continue when it is run again. Wrong
// settings are returned as conf.Faults that name the flags. Long operations show their progress.
package operations
