// Package pipelines wires weir together: which roles run in this process, the config of the whole, health, and weir's own
// metrics.
//
// Read Run in run.go from top to bottom: it starts what data reaches last first,
// so that a stop, which goes the other way, never cuts a part off from the one it
// hands its results to.
//
// Contract: a role that fails is built anew, with growing pauses, and the others
// go on. Run returns when its context ends and every role has stopped, with
// nothing lost: what was accepted is in the log, and is read again at the next
// start.
//
// Below it are broker (the embedded one, and frames, which guards it), listener (the doors of the HTTP address), routelag (how
// far route is), operations (what an operator runs beside weir), terminal (drawing), simulation (weir's life from a seed),
// and the tests of the whole: endtoend, attack, enginetest.
package pipelines
