//go:build !race

package notify

// raceEnabled has tests do less where everything takes ten times as long.
const raceEnabled = false
