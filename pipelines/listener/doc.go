// Package listener guards the one HTTP address of a process: who may connect, by which
// name, from which page, and as whom. Config is the section web of the config file.
//
// A request passes these checks, the doors, in this order; nothing behind them runs before that:
//
//	connections   bounded in all and for each client                   closed at once
//	host          the name in Host is one of ours (DNS rebinding)      421
//	origin        no other site's page makes a browser ask             403
//	credentials   basic auth, a bearer token, a client certificate     401, 429, 503
//	role          read for GET and HEAD, write for every other method  403
//
// Requests for health paths (see HealthPaths) that have no credentials or another Host pass, too, but
// get only a Brief answer. Neither role includes the other: an administrator has both. Without users,
// tokens and client certificates everybody has both; Warning says so unless the address is loopback.
//
// Contract: every refusal is counted by reason in weir_web_refused_total, and its answer names the
// setting that would let the request in, if there is one. Passwords are compared by bcrypt, on half
// of the CPUs at most; of a client's wrong ones only a few are compared, and then one now and then.
// Tokens are compared in constant time. Changed certificates, hashes and tokens are read again. No
// secret is in a log line, an answer or an error.
package listener
