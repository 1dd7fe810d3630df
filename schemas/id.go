package schemas

import (
	"crypto/sha256"
	"encoding/binary"
)

// ID is the first 128 bits of the SHA-256 of what it stands for. Nobody can make two things
// with one ID, by chance or by choosing labels, so an ID is taken for what it stands for;
// a 64-bit hash (Series.Hash) only finds things, which are then compared.
type ID struct{ Hi, Lo uint64 }

// idOf is the ID of what b holds.
func idOf(b []byte) ID {
	sum := sha256.Sum256(b)
	return idIn(sum[:])
}

func idIn(sum []byte) ID {
	return ID{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}

// ID is the series' identity, within its group and anywhere: it follows from the metric
// and the labels alone.
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

// SenderOf is the sender that a text names, such as the header weir.sender of a record of metrics, as Section.Sender holds it: 64 bits of its
// hash, never 0; 0 for no text. A sender may share one with another: they then share what
// a group takes from one sender.
func SenderOf(text []byte) uint64 {
	if len(text) == 0 {
		return 0
	}
	return max(1, idOf(text).Lo)
}

// SenderHeader is the header of a record of metrics that names who sent it: what the door
// through which it came knows of its client, and not what the samples say of themselves.
const SenderHeader = "weir.sender"
