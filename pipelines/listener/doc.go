// Package listener guards the one HTTP address of a process: who may connect, by which
// name, from which page, and as whom. Config is the section web of the config file.
//
// A request passes these doors in this order, and nothing behind them runs before it has:
//
//	connections   bounded in all and for each client                   closed at once
//	host          the name in Host is one of ours (DNS rebinding)      421
//	origin        a browser says that a page of ours asks              403
//	credentials   basic auth, a bearer token, a client certificate     401, 429, 503
//	role          read for GET and HEAD, write for every other method  403
//
// Health paths (see HealthPaths) pass all of them but the first, with a Brief answer. A
// role does not include the other: an administrator has both. Without users and
// tokens everybody has both, which New warns of unless the address is loopback.
//
// Contract: every refusal is counted by reason in weir_web_refused_total and names the
// setting that would let the request in. Passwords are compared by bcrypt, on few
// goroutines, and not more than a few of a client's wrong ones: a flood of them takes no
// more than that. Tokens are compared in constant time. Certificates, hashes and tokens are
// read again when their files change. No secret is in a log line, an answer or an error.
package listener
