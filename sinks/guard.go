package sinks

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// guardKey is the key of a context's guard.
type guardKey struct{}

// WithGuard returns a context for Notify whose requests leave only if may says so in the moment in
// which they are written, and fail otherwise. Between the decision to call and the call a process may stand
// still for any time, after which the call may be somebody else's.
func WithGuard(ctx context.Context, may func() bool) context.Context {
	return context.WithValue(ctx, guardKey{}, may)
}

// errGuarded says that a request did not leave.
var errGuarded = errors.New("not sent: too late to know that the call is still ours")

// guarded returns the request with the guard of its context, if there is one, around its body: the
// transport writes each part of the body as soon as it has read it.
func guarded(req *http.Request) *http.Request {
	may, ok := req.Context().Value(guardKey{}).(func() bool)
	if !ok || req.Body == nil {
		return req
	}
	with := *req
	with.Body, with.GetBody = guardedBody{req.Body, may}, nil
	return &with
}

type guardedBody struct {
	io.ReadCloser
	may func() bool
}

// Read returns errGuarded, and the rest of the request is not sent, as soon as the guard says no.
func (b guardedBody) Read(p []byte) (int, error) {
	if !b.may() {
		return 0, errGuarded
	}
	return b.ReadCloser.Read(p)
}
