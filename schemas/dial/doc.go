// Package dial opens connections to the servers of which weir is a client, Kafka's brokers and
// CQL's nodes: plain ones, or with TLS.
//
// Contract: certificate files are read anew for each connection, so that they may be changed while
// weir runs. An error names the server, and says what is wrong and with which setting: nothing
// listens, nothing answers, the server does not speak TLS, which file cannot be read, whose
// certificate has expired, is for another name, or is not signed by any authority in ca_file. No
// error contains a key.
package dial
