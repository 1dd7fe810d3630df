// Package pipelines wires weir together: which roles run in this process, the config of the whole, health, and weir's own
// metrics.
//
// Read Run in run.go from top to bottom. It starts first what data reaches last, and stops in the
// opposite order: no role loses the one that it hands its results to.
//
// Contract: a role that fails is built anew, after pauses that grow, and the others continue. Run
// returns when its context has ended and every role has stopped. Nothing is lost: what was accepted
// is in the log, and is read again at the next start.
//
// Below it are broker (the embedded one, and frames, which guards it), listener (the HTTP address and who may use it), routelag
// (how far route is), operations (what an operator runs beside weir), terminal (drawing), simulation (weir's life from a seed),
// and the tests of the whole: endtoend, attack, and enginetest, which starts the engines for them.
package pipelines
