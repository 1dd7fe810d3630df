package frames

import (
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxPartitions bounds the partitions of a topic.
	maxPartitions = 10_000
	// newPartitions is roughly how many partitions the broker makes if the request has no number.
	newPartitions = 10
	// maxTransaction is Kafka's own transaction.max.timeout.ms.
	maxTransaction = 15 * 60 * 1000 // ms
	maxProtocols   = 64
)

// topicName is what Kafka accepts as a topic's name; the broker names folders by it.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// checkSense refuses well-formed requests that would make the broker create more than it can hold, or
// that it does not expect. body, of req's key and version, has been walked.
func (g *Gate) checkSense(req kmsg.Request, body []byte) error {
	switch kmsg.Key(req.Key()) {
	case kmsg.Fetch:
		boundFetch(req.GetVersion(), body)
		return nil
	case kmsg.CreateTopics, kmsg.CreatePartitions, kmsg.JoinGroup, kmsg.InitProducerID:
		if err := req.ReadFrom(body); err != nil {
			return refuse("body", "%s version %d: %w", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
		}
	}
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return g.checkCreateTopics(req)
	case *kmsg.CreatePartitionsRequest:
		for _, t := range req.Topics {
			switch {
			case t.Count < 1 || t.Count > maxPartitions:
				return refuse("partitions", "topic %.249q with %d partitions: must be 1 to %d", t.Topic, t.Count, maxPartitions)
			case len(t.Assignment) > 0:
				return refuse("partitions", "topic %.249q with an assignment of replicas: there is one broker", t.Topic)
			case !req.ValidateOnly && !g.makes(int(t.Count)):
				return refuse("partitions", "too many partitions were made: at most %d", g.cfg.Partitions)
			}
		}
	case *kmsg.JoinGroupRequest:
		if n := len(req.Protocols); n < 1 || n > maxProtocols {
			return refuse("body", "JoinGroup with %d protocols: must be 1 to %d", n, maxProtocols)
		}
	case *kmsg.InitProducerIDRequest:
		if t := req.TransactionTimeoutMillis; req.TransactionalID != nil && (t < 1 || t > maxTransaction) {
			return refuse("body", "InitProducerID with a timeout of %d ms: must be 1 to %d", t, maxTransaction)
		}
	}
	return nil
}

func (g *Gate) checkCreateTopics(req *kmsg.CreateTopicsRequest) error {
	for _, t := range req.Topics {
		n := int(t.NumPartitions)
		if n == -1 {
			n = newPartitions
		}
		switch {
		case !topicName.MatchString(t.Topic) || t.Topic == "." || t.Topic == "..":
			return refuse("name", "topic %.249q: must be 1 to 249 of a-z, A-Z, 0-9, ., _ and -", t.Topic)
		case n < 1 || n > maxPartitions:
			return refuse("partitions", "topic %q with %d partitions: must be 1 to %d", t.Topic, t.NumPartitions, maxPartitions)
		case t.ReplicationFactor != -1 && t.ReplicationFactor != 1:
			// The broker's own answer says so.
			if t.ReplicationFactor < 1 {
				return refuse("partitions", "topic %q with %d replicas", t.Topic, t.ReplicationFactor)
			}
		case len(t.ReplicaAssignment) > 0:
			return refuse("partitions", "topic %q with an assignment of replicas: there is one broker", t.Topic)
		}
		for _, c := range t.Configs {
			if !sane(c.Name, c.Value) {
				return refuse("setting", "topic %q: setting %.100q", t.Topic, c.Name)
			}
		}
		if !req.ValidateOnly && !g.makes(n) {
			return refuse("partitions", "too many partitions were made: at most %d", g.cfg.Partitions)
		}
	}
	return nil
}

// leastSegment is a thousand times Kafka's least segment.bytes before 4.0: each segment is a file.
const leastSegment = 16 << 10 // bytes

var (
	settingName = regexp.MustCompile(`^[a-z][a-z0-9._]{1,99}$`)
	// texts are the settings that are not numbers.
	texts = map[string]*regexp.Regexp{
		"cleanup.policy":         regexp.MustCompile(`^(compact|delete|compact, ?delete|delete, ?compact)$`),
		"compression.type":       regexp.MustCompile(`^(producer|uncompressed|none|gzip|snappy|lz4|zstd)$`),
		"message.timestamp.type": regexp.MustCompile(`^(CreateTime|LogAppendTime)$`),
		"preallocate":            boolean, "unclean.leader.election.enable": boolean, "remote.storage.enable": boolean,
		"message.downconversion.enable": boolean,
	}
	boolean = regexp.MustCompile(`^(true|false)$`)
)

// sane reports whether a topic may have the setting.
func sane(name string, value *string) bool {
	if !settingName.MatchString(name) || strings.HasPrefix(name, "kfake.") {
		return false
	}
	if value == nil {
		return true
	}
	if form, ok := texts[name]; ok {
		return form.MatchString(*value)
	}
	if f, err := strconv.ParseFloat(*value, 64); name == "min.cleanable.dirty.ratio" {
		return err == nil && f >= 0 && f <= 1
	}
	n, err := strconv.ParseInt(*value, 10, 64)
	return err == nil && n >= -1 && (name != "segment.bytes" || n >= leastSegment) && (name != "max.message.bytes" || n >= 0 && n <= maxProduce)
}

// maxFetch bounds an answer to a fetch; it may be exceeded by one batch of records. Kafka has such a
// bound, too (fetch.max.bytes); a client asks again for the rest.
const maxFetch = 4 << 20 // bytes

// boundFetch changes the body of a well-formed fetch so that it asks for no more than maxFetch, and
// begins no session.
func boundFetch(version int16, body []byte) {
	if version <= 14 {
		body = body[4:] // the id of a broker that follows
	}
	const minBytes, maxBytes, session, epoch = 4, 8, 13, 17 // offsets, behind the wait and around the isolation
	for _, at := range []int{minBytes, maxBytes} {
		if int32(binary.BigEndian.Uint32(body[at:])) > maxFetch {
			binary.BigEndian.PutUint32(body[at:], maxFetch)
		}
	}
	if version >= 7 {
		none := int32(-1)
		binary.BigEndian.PutUint32(body[session:], 0)
		binary.BigEndian.PutUint32(body[epoch:], uint32(none))
	}
}
