package consume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/golang/snappy"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sifter goes through the batches of a partition in one answer.
type sifter struct {
	topic     string
	partition int32
	unzip     *unpacker
	watch     Watch
	spent     int    // bytes of the answer so far
	out       []byte // for what is passed on if it differs from what was read; the caller's, reused
	from      int    // where this answer begins in out
	changed   bool   // out differs from what was read
}

// Offsets of the fields of a batch (formats before 2 have only the length and the format), and bits
// of its attributes.
const (
	atLength, atMagic, atCRC, atAttributes, atLastDelta, atCount, atRecords = 8, 16, 17, 21, 23, 57, 61

	codecBits, controlBit = 7, 1 << 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sift returns the batches that the reader is to have. An incomplete batch at the end stays, so
// that the reader asks for more.
func (s *sifter) sift(raw []byte) []byte {
	for at := 0; at < len(raw); {
		rest := raw[at:]
		if len(rest) < atAttributes {
			s.keep(rest)
			break
		}
		length := int64(int32(binary.BigEndian.Uint32(rest[atLength:]))) + atLength + 4
		if length < atAttributes || length > int64(len(rest)) {
			s.keep(rest)
			break
		}
		if s.spent > answerBudget {
			s.change(raw, at) // the rest goes into the next answer
			break
		}
		s.batch(raw, at, int(length))
		at += int(length)
	}
	if s.changed {
		return s.out[s.from:]
	}
	return raw
}

// keep passes b on unchanged.
func (s *sifter) keep(b []byte) {
	if s.changed {
		s.out = append(s.out, b...)
	}
	s.spent += len(b)
}

// change begins to write output that differs from raw, which is the same up to at.
func (s *sifter) change(raw []byte, at int) {
	if !s.changed {
		s.changed, s.from, s.out = true, len(s.out), append(s.out, raw[:at]...)
	}
}

// batch passes on a batch in the form that the reader is to have.
func (s *sifter) batch(raw []byte, at, length int) {
	b := raw[at : at+length]
	if len(b) >= atRecords && int8(b[atMagic]) == 2 && binary.BigEndian.Uint16(b[atAttributes:])&codecBits != 0 {
		s.change(raw, at) // it is unpacked there
	}
	begin := len(s.out)
	err := s.unpack(b)
	out := s.out[begin:]
	switch {
	case err != nil:
		s.out = s.out[:begin]
		s.change(raw, at)
		s.standIn(b, err)
	case len(out) == 0:
		s.keep(b)
	default:
		binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-atLength-4))
		binary.BigEndian.PutUint16(out[atAttributes:], binary.BigEndian.Uint16(out[atAttributes:])&^codecBits)
		binary.BigEndian.PutUint32(out[atCRC:], crc32.Checksum(out[atAttributes:], castagnoli))
		s.spent += len(out)
	}
}

// unpack appends a batch to out, with its records unpacked, unless they are not packed. The error
// tells why the reader must not get it.
func (s *sifter) unpack(b []byte) error {
	if magic := int8(b[atMagic]); magic != 2 {
		return fmt.Errorf("it is of format %d: weir's producers write 2", magic)
	}
	if len(b) < atRecords {
		return fmt.Errorf("it has %d bytes", len(b))
	}
	if want := binary.BigEndian.Uint32(b[atCRC:]); crc32.Checksum(b[atAttributes:], castagnoli) != want {
		return errors.New("its checksum does not match")
	}
	records, err := s.records(b)
	if err != nil {
		return err
	}
	count, lastDelta := int32(binary.BigEndian.Uint32(b[atCount:])), int32(binary.BigEndian.Uint32(b[atLastDelta:]))
	if count < 0 || count > mostRecords {
		return fmt.Errorf("it holds %d records, at most %d", count, mostRecords)
	}
	if err := checkRecords(records, int(count), int64(lastDelta)); err != nil {
		return err
	}
	s.spent += int(count) * recordCost
	return nil
}

// records returns the records of a batch; if they are packed, they are appended to out after the
// head of the batch.
func (s *sifter) records(b []byte) ([]byte, error) {
	codec, packed := kgo.CompressionCodecType(binary.BigEndian.Uint16(b[atAttributes:])&codecBits), b[atRecords:]
	if codec == kgo.CodecNone {
		return packed, nil
	}
	s.out = append(s.out, b[:atRecords]...)
	at := len(s.out)
	if codec != kgo.CodecSnappy || bytes.HasPrefix(packed, xerial) {
		records, err := s.unzip.unpack(packed, codec)
		if err == nil {
			s.out = append(s.out, records...)
		}
		return s.out[at:], err
	}
	n, err := s.unzip.snappyLength(packed, 0) // what weir's producers write
	if err != nil {
		return nil, err
	}
	s.out = slices.Grow(s.out, n)
	records, err := snappy.Decode(s.out[at:at+n], packed)
	if err != nil {
		return nil, fmt.Errorf("snappy: %w", err)
	}
	s.out = s.out[:at+len(records)]
	return records, nil
}

// standIn writes a batch of one record in the place of b: at its last offset, with the same
// producer and transaction.
func (s *sifter) standIn(b []byte, why error) {
	first := int64(binary.BigEndian.Uint64(b))
	batch := kmsg.RecordBatch{FirstOffset: first, PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: -1, MaxTimestamp: -1,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1}
	if int8(b[atMagic]) == 2 && len(b) >= atRecords {
		var was kmsg.RecordBatch
		if was.ReadFrom(b) == nil {
			batch = was
			batch.Attributes &^= codecBits | controlBit
			batch.LastOffsetDelta, batch.NumRecords = max(0, was.LastOffsetDelta), 1
		}
	}
	skipped := Batch{Topic: s.topic, Partition: s.partition, From: first, To: first + int64(batch.LastOffsetDelta), Reason: why.Error()}
	text := skipped.String()
	body := binary.AppendVarint([]byte{0}, 0)
	body = binary.AppendVarint(body, int64(batch.LastOffsetDelta))
	body = binary.AppendVarint(body, -1) // no key
	body = append(binary.AppendVarint(body, int64(len(text))), text...)
	body = binary.AppendVarint(body, 0)
	batch.Records = append(binary.AppendVarint(nil, int64(len(body))), body...)
	begin := len(s.out)
	s.out = batch.AppendTo(s.out)
	out := s.out[begin:]
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-atLength-4))
	binary.BigEndian.PutUint32(out[atCRC:], crc32.Checksum(out[atAttributes:], castagnoli))
	s.spent += len(out)
	if s.watch.Skipped != nil {
		s.watch.Skipped(skipped)
	}
}

var errRecord = errors.New("one of its records is cut short, or claims to hold more than it does")

// checkRecords checks that b is n records, each whole, at offsets that ascend and are at most last
// after the first.
func checkRecords(b []byte, n int, last int64) error {
	at := int64(-1)
	for range n {
		r, rest, ok := cutBytes(b)
		if !ok || len(r) == 0 {
			return errRecord
		}
		b = rest
		r = r[1:]                // attributes
		_, k := varint(r)        // time
		delta, k2 := int64(0), 0 // offset
		if k > 0 {
			delta, k2 = varint(r[k:])
		}
		if k <= 0 || k2 <= 0 || delta <= at || delta > last {
			return errRecord
		}
		at, r = delta, r[k+k2:]
		for range 2 { // key and value
			if _, r, ok = cutBytes(r); !ok {
				return errRecord
			}
		}
		headers, k := varint(r)
		if k <= 0 || headers < 0 || headers > int64(len(r)) {
			return errRecord
		}
		r = r[k:]
		for range 2 * headers {
			if _, r, ok = cutBytes(r); !ok {
				return errRecord
			}
		}
		if len(r) != 0 {
			return errRecord
		}
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes are left over after its %d records", len(b), n)
	}
	return nil
}

// varint is binary.Varint, for numbers that are usually small.
func varint(b []byte) (int64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return binary.Varint(b)
}

// cutBytes cuts a field, which follows its length, off b; the length -1 means null.
func cutBytes(b []byte) (field, rest []byte, ok bool) {
	n, k := varint(b)
	switch {
	case k <= 0 || n < -1 || n > int64(len(b)-k):
		return nil, nil, false
	case n == -1:
		return nil, b[k:], true
	}
	return b[k : k+int(n)], b[k+int(n):], true
}
