package consume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// # Readers of other libraries
//
// sarama, with which Goka reads, unpacks a batch whatever its unpacked size, asks for memory for as
// many records and headers as a batch claims to have, and gives up everything that it reads from a
// broker because of one batch that it cannot read. None of that can be configured. So its
// connections are watched instead: what a broker answers to a Fetch is examined before sarama sees
// it. sarama gets batches that are whole and sane, unpacked, so that this is done once; in place of
// any other batch it gets a record that stands in for it, as PollRecords gives to other readers.

const (
	// mostUnpacked is maxUnpacked for such a reader, bytes: it holds a batch several times at once.
	// It is twice what weir's producers put into one.
	mostUnpacked = 32 << 20
	// mostRecords is maxRecords for such a reader: each record costs some 400 bytes.
	mostRecords = 1 << 18
	// answerBudget is how much the batches of one answer may take, bytes, before the rest is left
	// to the next: even with a batch of mostUnpacked at the end, the answer stays below 100 MiB,
	// the most that sarama accepts.
	answerBudget = 24 << 20
	// maxAnswer is the largest answer that is examined, bytes.
	maxAnswer = 100 << 20
	// keptBuffer is the largest buffer that a connection keeps in any case, bytes; see reusable.
	keptBuffer = 2 << 20
)

// Dialer opens connections to brokers for a reader that this package did not make, and gives that
// reader the same guarantees, except for the isolation level, which it must request itself.
type Dialer struct {
	Inner interface {
		Dial(network, addr string) (net.Conn, error)
	}
	Watch Watch // only Skipped is called, by whoever reads from a connection
}

// Dial connects to addr, host:port.
func (d *Dialer) Dial(network, addr string) (net.Conn, error) {
	raw, err := d.Inner.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: raw, watch: d.Watch, unzip: newUnpacker(mostUnpacked), fetches: map[int32]int16{}}, nil
}

// conn is a connection to a broker, over which Kafka's requests and answers pass.
type conn struct {
	net.Conn
	watch Watch
	unzip *unpacker

	head []byte // the first bytes of the request being written, up to requestHead
	skip int    // bytes of that request still to come

	mu      sync.Mutex
	fetches map[int32]int16 // versions of the unanswered Fetch requests, by correlation id

	out  []byte // of the answer being read, what goes before pass
	then []byte // what goes after out
	pass int    // bytes of the answer that pass unchanged
	err  error  // set when nothing more can be read
	raw  []byte // reused buffers
	kept []byte
	some []byte // see sifter.out
}

// requestHead is the length of a request's length, key, version and correlation id together;
// answerHead is that of an answer's length and correlation id.
const requestHead, answerHead = 12, 8

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.notice(b)
	return c.Conn.Write(b)
}

// notice remembers which requests are Fetches.
func (c *conn) notice(b []byte) {
	for len(b) > 0 {
		n := min(c.skip, len(b))
		c.skip -= n
		b = b[n:]
		n = min(requestHead-len(c.head), len(b))
		c.head = append(c.head, b[:n]...)
		b = b[n:]
		if len(c.head) < requestHead {
			return
		}
		length := int32(binary.BigEndian.Uint32(c.head))
		key, version := int16(binary.BigEndian.Uint16(c.head[4:])), int16(binary.BigEndian.Uint16(c.head[6:]))
		id := int32(binary.BigEndian.Uint32(c.head[8:]))
		c.skip, c.head = max(0, int(length)-(requestHead-4)), c.head[:0]
		if key == int16(kmsg.Fetch) {
			c.mu.Lock()
			c.fetches[id] = version
			c.mu.Unlock()
		}
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if c.err == nil && len(c.out) == 0 && c.pass == 0 {
		c.err = c.next()
	}
	switch {
	case len(c.out) > 0:
		n := copy(b, c.out)
		if c.out = c.out[n:]; len(c.out) == 0 {
			c.out, c.then = c.then, nil
		}
		return n, nil
	case c.err != nil:
		return 0, c.err
	}
	n, err := c.Conn.Read(b[:min(len(b), c.pass)])
	c.pass -= n
	return n, err
}

// next begins to read the next answer.
func (c *conn) next() error {
	head := make([]byte, answerHead)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return err
	}
	length, id := int(int32(binary.BigEndian.Uint32(head))), int32(binary.BigEndian.Uint32(head[4:]))
	c.mu.Lock()
	version, fetch := c.fetches[id]
	delete(c.fetches, id)
	c.mu.Unlock()
	if !fetch || length < answerHead-4 || length > maxAnswer {
		c.out, c.pass = head, max(0, length-(answerHead-4))
		return nil
	}
	c.raw = sized(reusable(c.raw), length-(answerHead-4))
	if _, err := io.ReadFull(c.Conn, c.raw); err != nil {
		return err
	}
	out, err := c.sift(head, version)
	if err != nil {
		return fmt.Errorf("an answer to Fetch, version %d, of %d bytes: %w", version, length, err)
	}
	if c.out = out; out == nil { // unchanged
		c.out, c.then = head, c.raw
	}
	return nil
}

// sized returns a buffer of n bytes, reusing b if it is large enough.
func sized(b []byte, n int) []byte {
	if n <= cap(b) {
		return b[:n]
	}
	return make([]byte, n)
}

// reusable returns b for the next answer, unless it is large and this answer needed little of it. So
// large buffers live as long as answers are large, in a backlog: making them anew for each of those
// took as long as making windows of them.
func reusable(b []byte) []byte {
	if cap(b) > keptBuffer && len(b) < cap(b)/4 {
		return nil
	}
	return b
}

// sift returns the answer in c.raw with the batches that the reader is to have, or nil if the
// answer can pass unchanged.
func (c *conn) sift(head []byte, version int16) ([]byte, error) {
	answer := kmsg.NewPtrFetchResponse()
	answer.SetVersion(version)
	if answer.IsFlexible() {
		return nil, errors.New("weir does not know this version here")
	}
	if err := answer.ReadFrom(c.raw); err != nil {
		return nil, err
	}
	spent, changed, out := 0, false, c.some[:0]
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for k := range t.Partitions {
			p := &t.Partitions[k]
			s := sifter{topic: t.Topic, partition: p.Partition, unzip: c.unzip, watch: c.watch, spent: spent, out: out}
			p.RecordBatches = s.sift(p.RecordBatches)
			spent, changed, out = s.spent, changed || s.changed, s.out
		}
	}
	c.some = reusable(out)
	if !changed {
		return nil, nil
	}
	size := len(c.raw) + len(out) + len(head) // at least what the answer takes
	c.kept = answer.AppendTo(append(slices.Grow(reusable(c.kept)[:0], size), head...))
	binary.BigEndian.PutUint32(c.kept, uint32(len(c.kept)-4))
	return c.kept, nil
}
