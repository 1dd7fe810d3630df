// Package terminaltest is a terminal for tests. Only tests import it.
package terminaltest
