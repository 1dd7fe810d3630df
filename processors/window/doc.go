// Package window is the processor of the group weir-window: it keeps the windows of every series in
// its partitions of samples and, as they close, sends them to windows and the conditions of the
// rules to conditions.
//
// Contract: package windows defines the windows, package alerts the rules, package writeback
// exactness; this package only joins them. A value of the group table is one series group: its
// windows, and what the rules remember of it. A record of samples that does not decode, and refused
// samples, go to deadletter with their reason and are counted in weir_window_samples_total; nothing
// stops the processor except the loss of its broker.
//
// There is a Processor for each generation of samples that is not retired (schemas.Generation); All
// runs them. Windows stay in the generation that has their samples, while what the rules remember
// moves on: see handover.go.
package window
