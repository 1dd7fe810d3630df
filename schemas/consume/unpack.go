package consume

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// maxUnpacked is the most, in bytes, that a batch may unpack to: several times what any of
	// weir's producers puts into one, or a broker accepts uncompressed.
	maxUnpacked = 64 << 20
	// maxRecords is how many records a batch may hold. Each takes some 200 bytes beyond its own, so
	// a batch of the smallest records would take 30 times its size.
	maxRecords = 1 << 20
	// recordCost is what a record takes beyond its own bytes.
	recordCost = 208
	// pollBudget is how much memory the batches of one poll may take, bytes, before the rest is
	// left to the next poll: a fetch of 8 MiB may hold thousands of small batches that unpack to
	// large ones.
	pollBudget = 128 << 20
)

// errUnreadable is what kgo is told about every batch to be skipped: kgo then names the offsets,
// and stops until SetOffsets.
var errUnreadable = kgo.ErrMaxDecompress

// later is the error text of a batch that is left to the next poll. kgo wraps it in an error that
// does not unwrap.
const later = "weir: this poll has unpacked enough"

// unpacker is a kgo.Decompressor with bounds. It is safe for concurrent use.
type unpacker struct {
	most int       // bytes that a batch may unpack to
	zstd sync.Pool // of *zstd.Decoder
	gzip sync.Pool // of *gzip.Reader
	lz4  sync.Pool // of *lz4.Reader

	mu    sync.Mutex
	spent int    // bytes since the last refill
	why   string // why the last batch was refused
}

func newUnpacker(most int) *unpacker {
	return &unpacker{
		most: most,
		zstd: sync.Pool{New: func() any {
			d, err := zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
			if err != nil {
				panic(err) // the options are constant
			}
			return d
		}},
		gzip: sync.Pool{New: func() any { return new(gzip.Reader) }},
		lz4:  sync.Pool{New: func() any { return lz4.NewReader(nil) }},
	}
}

// refill begins a poll.
func (u *unpacker) refill() {
	u.mu.Lock()
	u.spent = 0
	u.mu.Unlock()
}

// reason tells why the last batch was refused.
func (u *unpacker) reason() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.why
}

// errTooLarge is the error of a batch that unpacks to too much.
func (u *unpacker) errTooLarge() error { return fmt.Errorf("it unpacks to more than %d bytes", u.most) }

// Decompress implements kgo.Decompressor.
func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecNone {
		return src, nil
	}
	u.mu.Lock()
	enough := u.spent > pollBudget
	u.mu.Unlock()
	if enough {
		return nil, errors.New(later)
	}
	out, err := u.unpack(src, codec)
	n := 0
	if err == nil {
		if n = countRecords(out); n > maxRecords {
			err = fmt.Errorf("it holds more than %d records", maxRecords)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.why = err.Error()
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	u.spent += len(out) + n*recordCost
	return out, nil
}

func (u *unpacker) unpack(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	switch codec {
	case kgo.CodecGzip:
		r := u.gzip.Get().(*gzip.Reader)
		defer u.gzip.Put(r)
		return u.readAll(r, func() error { return r.Reset(bytes.NewReader(src)) })
	case kgo.CodecLz4:
		r := u.lz4.Get().(*lz4.Reader)
		defer u.lz4.Put(r)
		return u.readAll(r, func() error { r.Reset(bytes.NewReader(src)); return nil })
	case kgo.CodecSnappy:
		return u.unpackSnappy(src)
	case kgo.CodecZstd:
		d := u.zstd.Get().(*zstd.Decoder)
		defer u.zstd.Put(d)
		out, err := u.readAll(d, func() error { return d.Reset(bytes.NewReader(src)) })
		_ = d.Reset(nil) // releases src
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return nil, u.errTooLarge()
		}
		return out, err
	}
	return nil, fmt.Errorf("unknown compression %d", codec)
}

// probe is how much is unpacked into memory, bytes, before the full size is known.
const probe = 1 << 20

// readAll reads what r has after open. A batch larger than probe is read twice, the first time to
// learn its size: so a batch above the limit costs no memory, and any other costs no more than its
// size.
func (u *unpacker) readAll(r io.Reader, open func() error) ([]byte, error) {
	if err := open(); err != nil {
		return nil, fmt.Errorf("it does not unpack: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, probe))
	if err != nil {
		return nil, fmt.Errorf("it does not unpack: %w", err)
	}
	if len(out) < probe {
		return out, nil
	}
	more, err := io.Copy(io.Discard, io.LimitReader(r, int64(u.most-probe)+1))
	if err != nil {
		return nil, fmt.Errorf("it does not unpack: %w", err)
	}
	if more > int64(u.most-probe) {
		return nil, u.errTooLarge()
	}
	if err := open(); err != nil {
		return nil, fmt.Errorf("it does not unpack: %w", err)
	}
	out = make([]byte, probe+int(more))
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("it does not unpack: %w", err)
	}
	return out, nil
}

// xerial begins snappy as Java's producers frame it: after 8 bytes of versions come blocks, each
// preceded by its length.
var xerial = []byte{130, 83, 78, 65, 80, 80, 89, 0}

func (u *unpacker) unpackSnappy(src []byte) ([]byte, error) {
	if len(src) < 16 || !bytes.HasPrefix(src, xerial) {
		return u.appendSnappy(nil, src)
	}
	var out []byte
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, errors.New("snappy: the batch ends inside a block's length")
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return nil, fmt.Errorf("snappy: a block of %d bytes, but only %d are left", n, len(src))
		}
		var err error
		if out, err = u.appendSnappy(out, src[:n]); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

// appendSnappy unpacks a block and appends it to dst. The block begins with its unpacked length.
func (u *unpacker) appendSnappy(dst, block []byte) ([]byte, error) {
	if _, err := u.snappyLength(block, len(dst)); err != nil {
		return nil, err
	}
	out, err := s2.Decode(nil, block)
	if err != nil {
		return nil, fmt.Errorf("snappy: %w", err)
	}
	if dst == nil {
		return out, nil
	}
	return append(dst, out...), nil
}

// snappyLength returns how many bytes a block claims to unpack to, after so many others. It returns
// an error if that is too many, or more than its bytes can give, before any memory is allocated.
func (u *unpacker) snappyLength(block []byte, before int) (int, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return 0, fmt.Errorf("snappy: %w", err)
	}
	if n < 0 || n > u.most-before {
		return 0, u.errTooLarge()
	}
	if n > 64*len(block)+64 {
		return 0, fmt.Errorf("snappy: %d bytes claim to unpack to %d", len(block), n)
	}
	return n, nil
}

// countRecords returns how many records there are in an unpacked batch, each preceded by its
// length, or how many there are before an impossible one.
func countRecords(b []byte) int {
	n := 0
	for len(b) > 0 {
		size, k := binary.Varint(b)
		if k <= 0 || size < 0 || size > int64(len(b)-k) {
			break
		}
		b = b[int64(k)+size:]
		n++
	}
	return n
}
