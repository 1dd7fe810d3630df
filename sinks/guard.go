package sinks

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// guardKey is the key of a context's guard.
type guardKey struct{}

// WithGuard returns a context for Notify whose requests are sent only if may returns true at the
// moment when they are written, and fail otherwise. Between the decision to call and the call, a
// process may be suspended for any length of time, after which the call may be somebody else's to
// make.
func WithGuard(ctx context.Context, may func() bool) context.Context {
	return context.WithValue(ctx, guardKey{}, may)
}

// errGuarded tells that a request was not sent.
var errGuarded = errors.New("not sent: it is too late to be sure that the call is still ours")

// guarded returns the request with its context's guard, if there is one, around its body: the
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

// Read returns errGuarded as soon as the guard returns false, and the rest of the request is not
// sent.
func (b guardedBody) Read(p []byte) (int, error) {
	if !b.may() {
		return 0, errGuarded
	}
	return b.ReadCloser.Read(p)
}
