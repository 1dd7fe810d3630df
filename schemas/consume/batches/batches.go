package batches

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The codecs, as the attributes of a batch name them.
const (
	None int16 = iota
	Gzip
	Snappy
	Lz4
	Zstd
)

// New returns a batch of n records, packed by a codec, or claiming to be, with any content.
func New(codec int16, n int32, records []byte) []byte {
	return Seal(&kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, Attributes: codec, LastOffsetDelta: n - 1,
		FirstTimestamp: 1000, MaxTimestamp: 1000, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: n, Records: records})
}

// Seal returns the batch with its length and checksum set.
func Seal(b *kmsg.RecordBatch) []byte {
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

// Record returns one record of a batch, delta offsets after its first. A nil key or value is null.
func Record(delta int64, key, value []byte) []byte {
	body := binary.AppendVarint(binary.AppendVarint([]byte{0}, 0), delta)
	for _, b := range [][]byte{key, value} {
		if b == nil {
			body = binary.AppendVarint(body, -1)
			continue
		}
		body = append(binary.AppendVarint(body, int64(len(b))), b...)
	}
	body = binary.AppendVarint(body, 0)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// Zeros returns the records of a batch of one, whose value is n zero bytes, packed by a codec. With
// Gzip and Zstd it takes little memory for any n; n is at most 2^31-100.
func Zeros(codec int16, key []byte, n int) ([]byte, error) {
	head := binary.AppendVarint(binary.AppendVarint([]byte{0}, 0), 0)
	head = append(binary.AppendVarint(head, int64(len(key))), key...)
	head = binary.AppendVarint(head, int64(n))
	head = append(binary.AppendVarint(nil, int64(len(head)+n+1)), head...)
	var out bytes.Buffer
	write := func(w io.WriteCloser) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		for zero := make([]byte, 1<<20); n > 0; n -= min(n, len(zero)) {
			if _, err := w.Write(zero[:min(n, len(zero))]); err != nil {
				return err
			}
		}
		if _, err := w.Write([]byte{0}); err != nil {
			return err
		}
		return w.Close()
	}
	var err error
	switch codec {
	case Gzip:
		err = write(gzip.NewWriter(&out))
	case Lz4:
		err = write(lz4.NewWriter(&out))
	case Zstd:
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1)); err == nil {
			err = write(w)
		}
	case Snappy:
		return s2.EncodeSnappy(nil, append(head, make([]byte, n+1)...)), nil
	default:
		return append(head, make([]byte, n+1)...), nil
	}
	if err != nil {
		return nil, fmt.Errorf("pack %d zeros: %w", n, err)
	}
	return out.Bytes(), nil
}

// Produce appends a batch to a partition as it is, and returns the offset of its first record.
func Produce(ctx context.Context, cl *kgo.Client, topic string, partition int32, batch []byte) (int64, error) {
	details, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", topic, err)
	}
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, batch
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = topic, details[topic].ID, []kmsg.ProduceRequestTopicPartition{part}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 30_000, []kmsg.ProduceRequestTopic{rt}
	leader := details[topic].Partitions[partition].Leader
	answer, err := cl.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return 0, fmt.Errorf("produce to %s/%d: %w", topic, partition, err)
	}
	p := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
}
