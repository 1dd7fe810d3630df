// Package main plays runs of the simulation for as long as asked, each of another seed.
// The first that fails is shrunk, printed with its seed and how to repeat it, and makes
// the exit code 1.
package main
