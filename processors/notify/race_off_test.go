//go:build !race

package notify

// raceEnabled makes tests do less under the race detector, which makes everything ten times slower.
const raceEnabled = false
