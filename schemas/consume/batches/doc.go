// Package batches makes record batches as they are on the wire, good and bad ones, for tests of
// code that reads them. It reads nothing itself.
package batches
