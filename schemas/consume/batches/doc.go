// Package batches makes record batches as they stand on the wire, good and bad ones, for
// tests of those who read them. It reads nothing itself.
package batches
