package members

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// answerWithin is how long a member may take to answer.
const answerWithin = time.Second

// question asks for /healthz over HTTP. A listener with TLS answers it, too, with an error: any
// answer shows that the process runs, so neither certificates nor users are needed.
const question = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

// ask asks whatever listens at address, host:port, for an answer.
func ask(ctx context.Context, address string) Outcome {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return Refused
		}
		return Silent
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if conn.SetDeadline(deadline) != nil {
		return Silent
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return Silent
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return Silent
	}
	return Answered
}
