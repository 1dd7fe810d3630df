package collect

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

const (
	// patience is how long a body may take beyond what its length allows at the minimum rate: until
	// its first bytes come, or when it pauses.
	patience = 5 * time.Second
	// answerWithin is how long a client may take to read an answer.
	answerWithin = 10 * time.Second
	// maxRatio bounds how much longer a body becomes when unpacked, once it is longer than
	// freeBytes. Line protocol of one host with one value shrinks to a hundredth at most.
	maxRatio  = 200
	freeBytes = 1 << 20
)

var (
	errSlow  = errors.New("the body comes too slowly")
	errRatio = fmt.Errorf("%w: it unpacks to more than %d times its length", errTooLarge, maxRatio)
)

// clientOf names who sends a request, for shares and limits: its address, or the first 64 bits of
// an IPv6 address, since whoever has one such address has all of them.
func clientOf(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// senderOf is the client as the header weir.sender names it.
func senderOf(client string) string {
	sum := sha256.Sum256([]byte("weir sender " + client))
	return hex.EncodeToString(sum[:8])
}

// encoded reports whether a body is gzip, by its Content-Encoding: names in any case, a list,
// x-gzip for gzip, and identity for nothing at all.
func encoded(h http.Header) (isGzip bool, err error) {
	for _, line := range h.Values("Content-Encoding") {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.ToLower(strings.TrimSpace(name)); {
			case name == "" || name == "identity":
			case (name == "gzip" || name == "x-gzip") && !isGzip:
				isGzip = true
			default:
				return false, fmt.Errorf("content encoding %.100q: must be gzip, once, or none", strings.Join(h.Values("Content-Encoding"), ", "))
			}
		}
	}
	return isGzip, nil
}

// pacedBody reads a request's body and holds its client to a minimum rate. A read may wait as long
// as there is patience left; waiting uses patience up, and bytes restore it. So bytes that are held
// move on, or are given back.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	end     time.Time // by when the whole body must have come
	cfg     *Config
	most    time.Duration // patience
	left    time.Duration // what is left of it for the next read; arriving bytes add to it
	read    int64
}

func (p *pacedBody) Read(b []byte) (int, error) {
	begin := time.Now()
	until := begin.Add(p.left)
	if until.After(p.end) {
		until = p.end
	}
	_ = p.control.SetReadDeadline(until) // a test's recorder has no deadline
	n, err := p.ReadCloser.Read(b)
	p.read += int64(n)
	earned := time.Duration(float64(n) / float64(p.cfg.MinBodyRate) * float64(time.Second))
	p.left = min(p.left-time.Since(begin)+earned, p.most)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %d bytes came, and then fewer than %d a second", errSlow, p.read, p.cfg.MinBodyRate)
	}
	return n, err
}

// unpacked reads gzip of a pacedBody, with a bound on the ratio.
type unpacked struct {
	*gzip.Reader
	from *pacedBody
	n    int64
}

func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.Reader.Read(b)
	if u.n += int64(n); u.n > freeBytes && u.n > maxRatio*u.from.read {
		return n, errRatio
	}
	return n, err
}

// body reads a request's body, unzipped if need be. held is what was taken of the client's budget,
// also if there is an error; status is the answer to the error.
func (g *Gateway) body(w http.ResponseWriter, r *http.Request, client string) (body []byte, held, status int, err error) {
	control := http.NewResponseController(w)
	defer func() {
		if err != nil { // do not wait for the rest
			w.Header().Set("Connection", "close")
			_ = control.SetReadDeadline(time.Now().Add(g.patience / 10))
			return
		}
		_ = control.SetReadDeadline(time.Time{}) // otherwise it would also end the wait for Kafka
	}()
	zipped, err := encoded(r.Header)
	if err != nil {
		return nil, 0, http.StatusUnsupportedMediaType, err
	}
	tooLarge := fmt.Errorf("%w: at most %d bytes", errTooLarge, g.cfg.MaxBodyBytes)
	if r.ContentLength > int64(g.cfg.MaxBodyBytes) {
		return nil, 0, http.StatusRequestEntityTooLarge, tooLarge
	}
	paced := &pacedBody{ReadCloser: r.Body, control: control, end: time.Now().Add(g.cfg.BodyTimeout.Std()), cfg: &g.cfg,
		most: g.patience, left: g.patience}
	var from io.Reader = http.MaxBytesReader(w, paced, int64(g.cfg.MaxBodyBytes))
	if zipped {
		unzip, err := gzip.NewReader(from)
		if errors.Is(err, errSlow) {
			return nil, 0, http.StatusRequestTimeout, err
		}
		if err != nil {
			return nil, 0, http.StatusBadRequest, fmt.Errorf("gzip: %w", err)
		}
		from = &unpacked{Reader: unzip, from: paced}
	}
	body, held, err = g.held.readAll(client, from, g.cfg.MaxBodyBytes)
	var beyond *http.MaxBytesError
	switch {
	case err == nil:
		return body, held, 0, nil
	case errors.Is(err, errSlow):
		return nil, held, http.StatusRequestTimeout, err
	case errors.Is(err, errBusy), errors.Is(err, errShare):
		return nil, held, http.StatusTooManyRequests, err
	case errors.Is(err, errRatio):
		return nil, held, http.StatusRequestEntityTooLarge, err
	case errors.Is(err, errTooLarge), errors.As(err, &beyond):
		return nil, held, http.StatusRequestEntityTooLarge, tooLarge
	}
	return nil, held, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
}
