package collect

import (
	"errors"
	"io"
	"sync"
)

// budget bounds the bytes that are held at once, by all clients and by each of them.
type budget struct {
	mu      sync.Mutex
	left    int
	share   int            // of one client
	clients map[string]int // bytes that each holds; clients that hold none are left out
}

func newBudget(all, share int) *budget {
	return &budget{left: all, share: share, clients: map[string]int{}}
}

// take takes n bytes for the client, or returns errBusy or errShare.
func (b *budget) take(client string, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clients[client]+n > b.share {
		return errShare
	}
	if n > b.left {
		return errBusy
	}
	b.left -= n
	b.clients[client] += n
	return nil
}

// give gives back bytes of the client.
func (b *budget) give(client string, n int) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	if b.clients[client] -= n; b.clients[client] == 0 {
		delete(b.clients, client)
	}
}

// free is how many bytes are left for all.
func (b *budget) free() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left
}

var (
	errTooLarge = errors.New("the body is too long")
	errBusy     = errors.New("too many bytes of request bodies are being held")
	errShare    = errors.New("too many bytes of request bodies of this client are being held")
)

// readAll reads r to its end, at most limit bytes, and charges the client's budget for each byte as
// it comes, whatever length was announced. It returns errTooLarge, take's error or r's own. held is
// what was charged, also if there is an error.
func (b *budget) readAll(client string, r io.Reader, limit int) (body []byte, held int, err error) {
	const step = 16 << 10
	for {
		if len(body) == cap(body) {
			grown := min(max(2*cap(body), step), limit+1)
			if err := b.take(client, grown-cap(body)); err != nil {
				return nil, held, err
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
