// Package main plays runs of the simulation, one seed after another, for a given time. It stops at the first
// run that fails, shrinks it, prints it with its seed and a command that repeats it, and exits with code 1.
package main
