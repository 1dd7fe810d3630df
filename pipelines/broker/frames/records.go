package frames

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	batchHead = 61 // bytes of a batch before its records
	// maxUnpacked bounds what a batch of records may unpack to.
	maxUnpacked = 64 << 20 // bytes
	// maxUnpackedAtOnce bounds how many batches are unpacked at once, each into a buffer of its own.
	maxUnpackedAtOnce = 2
)

// checkRecords refuses a batch of records that the broker would accept and could not read later: it
// looks into batches when it compacts a topic or is asked for the offset of a time, and then a record
// with a wrong length would end the process, after each restart again. Faults that the broker notices
// are left to its own answer.
func (g *Gate) checkRecords(b []byte) error {
	if len(b) < batchHead || b[16] != 2 || int(binary.BigEndian.Uint32(b[8:])) != len(b)-12 {
		return nil
	}
	attributes := binary.BigEndian.Uint16(b[21:])
	last, count := int32(binary.BigEndian.Uint32(b[23:])), int32(binary.BigEndian.Uint32(b[57:]))
	if count < 1 || last != count-1 {
		return refuse("records", "a batch of %d records, the last with offset %d", count, last)
	}
	var err error
	if codec := attributes & 7; codec == 0 {
		err = checkEach(b[batchHead:], int(count))
	} else {
		err = g.unpacked.check(b[batchHead:], codec, int(count))
	}
	if err != nil {
		return refuse("records", "a batch of %d records: %w", count, err)
	}
	return nil
}

// checkEach decodes records to the last byte.
func checkEach(b []byte, count int) error {
	for i := range count {
		length, n := binary.Varint(b)
		if n <= 0 || length < 1 || length > int64(len(b)-n) {
			return fmt.Errorf("record %d: a length of %d, %d bytes are left", i, length, len(b)-max(n, 0))
		}
		if err := checkRecord(b[n:n+int(length)], i); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		b = b[n+int(length):]
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes too long", len(b))
	}
	return nil
}

func checkRecord(b []byte, i int) error {
	b = b[1:]                // attributes, which have no meaning yet
	_, n := binary.Varint(b) // of the time
	offset, m := varint32(b[max(n, 0):])
	if n <= 0 || m <= 0 || offset != int32(i) {
		return fmt.Errorf("offset %d", offset)
	}
	b = b[n+m:]
	for range 2 { // key and value, which may be null
		var err error
		if b, err = skip(b, true); err != nil {
			return err
		}
	}
	headers, n := varint32(b)
	if n <= 0 || headers < 0 {
		return errors.New("headers are cut")
	}
	b = b[n:]
	for range headers {
		for _, null := range []bool{false, true} { // a header's name cannot be null
			var err error
			if b, err = skip(b, null); err != nil {
				return err
			}
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%d bytes too long", len(b))
	}
	return nil
}

// skip returns what follows the bytes at the beginning of b.
func skip(b []byte, null bool) ([]byte, error) {
	size, n := varint32(b)
	if n <= 0 || size < -1 || size < 0 && !null || int(size) > len(b)-n {
		return nil, fmt.Errorf("a length of %d, %d bytes are left", size, len(b)-max(n, 0))
	}
	return b[n+max(0, int(size)):], nil
}

// varint32 reads no further than a reader of 32 bits does.
func varint32(b []byte) (int32, int) {
	v, n := binary.Varint(b[:min(len(b), binary.MaxVarintLen32)])
	if int64(int32(v)) != v {
		return 0, -1
	}
	return int32(v), n
}

// unpacker unpacks batches, a few at once, and none beyond maxUnpacked.
type unpacker chan *unpacking

// unpacking is what unpacking one batch needs.
type unpacking struct {
	out  bytes.Buffer
	zstd *zstd.Decoder
}

func newUnpacker() unpacker {
	u := make(unpacker, maxUnpackedAtOnce)
	for range maxUnpackedAtOnce {
		u <- &unpacking{}
	}
	return u
}

func (u unpacker) check(b []byte, codec uint16, count int) error {
	p := <-u
	defer func() { u <- p }()
	p.out.Reset()
	if p.out.Cap() > keepUnpacked {
		p.out = bytes.Buffer{}
	}
	var err error
	switch codec {
	case 1:
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			err = p.copy(r)
		}
	case 2:
		err = p.snappy(b)
	case 3:
		err = p.copy(lz4.NewReader(bytes.NewReader(b)))
	case 4:
		err = p.unzstd(b)
	default:
		return nil // the broker's answer says so
	}
	if err != nil {
		return err
	}
	return checkEach(p.out.Bytes(), count)
}

// keepUnpacked bounds the buffers that are kept for the next batch.
const keepUnpacked = 4 << 20 // bytes

var errUnpacked = fmt.Errorf("unpack to more than %d bytes", maxUnpacked)

func (p *unpacking) copy(r io.Reader) error {
	n, err := p.out.ReadFrom(io.LimitReader(r, maxUnpacked+1))
	if err == nil && n > maxUnpacked {
		err = errUnpacked
	}
	return err
}

func (p *unpacking) unzstd(b []byte) error {
	if p.zstd == nil {
		var err error
		if p.zstd, err = zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxUnpacked)); err != nil {
			return err
		}
	}
	if err := p.zstd.Reset(bytes.NewReader(b)); err != nil {
		return err
	}
	return p.copy(p.zstd)
}

// xerial begins what Java's producers pack with snappy: blocks, each after its length.
var xerial = []byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHead = 16 // bytes: xerial and two versions

func (p *unpacking) snappy(b []byte) error {
	if !bytes.HasPrefix(b, xerial) || len(b) <= xerialHead {
		return p.block(b)
	}
	for b = b[xerialHead:]; len(b) > 0; {
		if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) {
			return errors.New("a block is cut")
		}
		size := 4 + int(binary.BigEndian.Uint32(b))
		if err := p.block(b[4:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func (p *unpacking) block(b []byte) error {
	size, err := s2.DecodedLen(b)
	if err != nil {
		return err
	}
	if size > maxUnpacked-p.out.Len() {
		return errUnpacked
	}
	// A byte of snappy stands for 64 at most: no more is allocated than can follow.
	if size > 64*len(b)+64 {
		return errors.New("a block announces more than it holds")
	}
	p.out.Grow(size)
	got, err := s2.Decode(p.out.AvailableBuffer()[:size], b)
	if err != nil {
		return err
	}
	p.out.Write(got)
	return nil
}
