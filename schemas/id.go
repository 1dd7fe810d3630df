package schemas

import (
	"crypto/sha256"
	"encoding/binary"
)

// ID is the first 128 bits of the SHA-256 of what it stands for. Nobody can make two things have
// one ID, by chance or by choosing labels, so equal IDs mean equal things. A 64-bit hash
// (Series.Hash) only finds candidates, which are then compared.
type ID struct{ Hi, Lo uint64 }

// idOf is the ID of the bytes b.
func idOf(b []byte) ID {
	sum := sha256.Sum256(b)
	return idIn(sum[:])
}

func idIn(sum []byte) ID {
	return ID{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}

// appendTo appends the ID as batches have it, 16 bytes.
func (id ID) appendTo(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, id.Hi), id.Lo)
}

// ShapeOf is the digest of a list of series; see SampleBatch.Shape.
func ShapeOf(ids []ID) ID {
	b := make([]byte, 0, 16*len(ids))
	for _, id := range ids {
		b = id.appendTo(b)
	}
	return idOf(b)
}

// ID is the series' identity, within its group and everywhere: it follows from the metric and the
// labels alone.
func (s Series) ID() ID {
	var buf [512]byte
	return idOf(s.appendKey(buf[:0]))
}

// SampleID tells one sample of a series from all others: by the series' ID, the time and the bits of the value.
func SampleID(series ID, timeMS int64, subNS uint32, bits uint64) ID {
	var buf [sampleKeyBytes]byte
	return idOf(appendSampleKey(buf[:0], series, timeMS, subNS, bits))
}

// sampleKeyBytes is the length of what appendSampleKey appends.
const sampleKeyBytes = 36

func appendSampleKey(dst []byte, series ID, timeMS int64, subNS uint32, bits uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, series.Hi)
	dst = binary.LittleEndian.AppendUint64(dst, series.Lo)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(timeMS))
	dst = binary.LittleEndian.AppendUint32(dst, subNS)
	return binary.LittleEndian.AppendUint64(dst, bits)
}

// SenderOf turns the name of a sender, such as the header weir.sender of a record of metrics, into
// what Section.Sender holds: 64 bits of its hash, never 0; 0 for an empty name. Two senders may
// have the same 64 bits: they then share what a group takes from one sender.
func SenderOf(text []byte) uint64 {
	if len(text) == 0 {
		return 0
	}
	return max(1, idOf(text).Lo)
}

// SenderHeader is the header of a record of metrics that names who sent it: what the gateway
// through which the record came knows about its client, not what the samples say about themselves.
const SenderHeader = "weir.sender"
