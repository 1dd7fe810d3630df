package attack

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
)

// frame is a request to the broker: its announced length, and what follows.
func frame(length int32, key, version int16, rest string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(length))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return string(b) + rest
}

// frames are attacks on the broker's port by clients that do not speak Kafka.
func frames() (all []Attack) {
	add := func(name string, parts ...string) {
		all = append(all, Attack{"frame", name, func(ctx context.Context, t Target) (string, error) {
			answer, err := converse(ctx, t.Broker, parts...)
			switch {
			case err != nil:
				return "connection reset", nil
			case answer == "":
				return "waits, until its deadline", nil
			case answer == "connection closed" || strings.HasPrefix(answer, "cut off"):
				return answer, nil
			}
			return fmt.Sprintf("answered with %d bytes", len(answer)), nil
		}})
	}
	header := "\x00\x00\x00\x01\xff\xff" // correlation id, no client id
	for _, key := range []int16{-1, -32768, 32767, 100, 93, 0, 1, 2, 3, 8, 9, 10, 11, 12, 18, 19, 36} {
		for _, version := range []int16{-1, 0, 32767} {
			add(fmt.Sprintf("key %d version %d, empty", key, version), frame(int32(4+len(header)), key, version, header))
		}
	}
	for _, length := range []int32{-1, -2147483648, 0, 1, 3, 2147483647, 1 << 30} {
		add(fmt.Sprintf("%d bytes announced", length), frame(length, 3, 0, header))
	}
	rest := func(b string) string { return frame(int32(4+len(header)+len(b)), 3, 1, header+b) }
	add("an array of 2 billion topics", rest("\x7f\xff\xff\xff"))
	add("an array of -2 topics", rest("\xff\xff\xff\xfe"))
	add("a text of -32768 bytes", rest("\x00\x00\x00\x01\x80\x00"))
	add("half a length", "\x00\x00")
	add("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	add("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	add("1 MB of zeros", strings.Repeat("\x00", 1<<20))
	add("1 MB of ones", strings.Repeat("\xff", 1<<20))
	return all
}

// records are poison in each topic and table.
func records() (all []Attack) {
	config := topics.Default()
	values := map[string][]byte{
		"rubbish": []byte("\x07\xffrubbish\x00\x01"), "empty": {}, "of another version": []byte("\xfe{}"), "cut": []byte("\x02\x01"), "cut JSON": []byte("\x01{\"fingerprint\":"),
		"JSON of other things": []byte("\x01[1,2,3]"), "of 900 KB": []byte("\x01" + strings.Repeat("x", 900_000)), "null": nil,
	}
	for _, topic := range topics.All(config) {
		for name, value := range values {
			for _, key := range []string{"poison", ""} {
				all = append(all, Attack{"record", fmt.Sprintf("%s: %s, key %q", topic.Name, name, key), func(ctx context.Context, t Target) (string, error) {
					return poison(ctx, t, &kgo.Record{Topic: topic.Name, Key: []byte(key), Value: value})
				}})
			}
		}
	}
	return all
}

// poison writes a record and waits until weir is ready (again, or still).
func poison(ctx context.Context, t Target, r *kgo.Record) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(t.Broker), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return "", err
	}
	defer c.Close()
	before, err := letters(ctx, c)
	if err != nil {
		return "", err
	}
	if len(r.Key) == 0 {
		r.Key = nil
	}
	if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
		return "the broker: " + short(err.Error()), nil
	}
	for {
		resp, err := client.Get("http://" + t.HTTP + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("not ready any more: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	after, err := letters(ctx, c)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("weir goes on; %d letters so far", after-before), nil
}

// letters is how many records deadletter has.
func letters(ctx context.Context, c *kgo.Client) (n int64, err error) {
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topics.DeadLetter)
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, err
}
