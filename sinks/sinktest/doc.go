// Package sinktest has the conformance suite of sinks.TierStore (Run: what every tier store must
// do, whatever it is built on; each store's own tests call it), and strict mocks of the receivers'
// services.
package sinktest
