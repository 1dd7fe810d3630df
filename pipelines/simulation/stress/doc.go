// Package main plays runs of the simulation, each from another seed, for a given time. The first one
// that fails is shrunk and printed with its seed and how to repeat it; the exit code is then 1.
package main
