// Package dial opens connections to the servers that weir is a client of, Kafka's brokers and
// CQL's nodes: plain ones, or with TLS.
//
// Contract: the files of certificates are read for each new connection, so that they
// may be changed while weir runs. An error names the server and says what is wrong and with
// which setting: nobody listens, nobody answers, who answers speaks no TLS, which file cannot
// be read, whose certificate has expired, is of another name, or is signed by nobody that ca_file
// holds. No error holds a key.
package dial
