// Package windowtest is the test kit of windows: an oracle that computes the
// windows of a list of samples the slow and obvious way, and a comparison.
//
// It shares no code with package windows, knows nothing of watermarks, lateness,
// cascades or revisions, and looks at each sample once per tier. Whatever was
// killed, repeated, delayed or moved on the way: the merged windows of a tier
// must equal what Oracle says of the same samples.
package windowtest
