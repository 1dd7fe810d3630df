//go:build race

package simulation

const defaultSeeds = 20 // the simulation has one goroutine, so the race detector finds nothing here
