//go:build race

package simulation

const defaultSeeds = 20 // there is one goroutine: the race detector only costs
