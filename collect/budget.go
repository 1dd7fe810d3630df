package collect

import (
	"errors"
	"io"
	"sync/atomic"
)

// budget bounds the bytes that are held at once.
type budget struct {
	left atomic.Int64
}

// take takes n bytes if they are there.
func (b *budget) take(n int) bool {
	if b.left.Add(-int64(n)) < 0 {
		b.left.Add(int64(n))
		return false
	}
	return true
}

// give gives bytes back.
func (b *budget) give(n int) { b.left.Add(int64(n)) }

var (
	errTooLarge = errors.New("the body is too long")
	errBusy     = errors.New("too many bytes are held")
)

// readAll reads r to its end, at most limit bytes, taking each from the budget.
// It returns errTooLarge, errBusy or r's own error. held is what was taken, with
// an error too.
func (b *budget) readAll(r io.Reader, limit int) (body []byte, held int, err error) {
	const step = 16 << 10
	for {
		if len(body) == cap(body) {
			grown := min(max(2*cap(body), step), limit+1)
			if !b.take(grown - cap(body)) {
				return nil, held, errBusy
			}
			held += grown - cap(body)
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if len(body) > limit {
			return nil, held, errTooLarge
		}
		if err == io.EOF {
			return body, held, nil
		}
		if err != nil {
			return nil, held, err
		}
	}
}
