// Package broker runs the embedded broker, with which weir needs no Kafka: a kfake node that keeps its log in a folder.
//
// Contract: one process at a time has a folder open. The port is kept over restarts. What clients send is checked before the
// broker sees it (package frames), so that no request can end the process.
package broker
