package frames

import (
	"bytes"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func testGate(t testing.TB) *Gate {
	t.Helper()
	return New(Default(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

// filler fills requests with anything.
type filler struct {
	*rand.Rand
	names []string // of topics, groups and members
}

func (r filler) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch {
			case !v.Field(i).CanSet() || name == "Version" || name == "UnknownTags" || name == "ReplicaState":
			case name == "HighWatermark": // of brokers, as ReplicaState is: by default it is not sent
				v.Field(i).SetInt(math.MaxInt64)
			default:
				r.fill(v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		if r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			r.fill(v.Elem(), depth)
		}
	case reflect.Slice:
		n := r.IntN(4)
		if v.Type().Elem().Kind() == reflect.Uint8 {
			n = r.IntN(90)
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			r.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i), depth)
		}
	case reflect.String:
		v.SetString(r.names[r.IntN(len(r.names))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.number(v.Type().Bits()))
	case reflect.Uint8:
		v.SetUint(r.Uint64() & 0xff)
	}
}

func (r filler) number(bits int) int64 {
	switch r.IntN(8) {
	case 0:
		return -1
	case 1:
		return int64(-1) << (bits - 1)
	case 2:
		return 1<<(bits-1) - 1
	case 3:
		return r.Int64() >> (64 - bits)
	default:
		return int64(r.IntN(6))
	}
}

// encoded is a request with its header, without its length.
func encoded(req kmsg.Request) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	return f.AppendRequest(nil, req, 7)[sizeBytes:]
}

// TestLayoutsAreThoseOfTheProtocol: the layout of every version of every accepted request covers it to its last byte; a request that
// is cut or longer is refused.
func TestLayoutsAreThoseOfTheProtocol(t *testing.T) {
	const seed = 11
	r := filler{rand.New(rand.NewPCG(seed, 0)), []string{"", "topic", strings.Repeat("x", 200)}}
	g := testGate(t)
	for key := range layouts {
		for version := least[key]; version <= newestOf(key.Request()); version++ {
			for range 12 {
				req := key.Request()
				req.SetVersion(version)
				r.fill(reflect.ValueOf(req).Elem(), 0)
				frame := encoded(req)
				walked := func(b []byte) error {
					w := walk{gate: g, left: maxElements, key: key, version: version, flexible: req.IsFlexible()}
					head := len(encoded(req)) - len(req.AppendTo(nil))
					w.Src = b[head:]
					return w.body()
				}
				if err := walked(frame); err != nil {
					t.Fatalf("seed %d: %s version %d: %v\n%+v", seed, key.Name(), version, err, req)
				}
				if err := walked(append(bytes.Clone(frame), 0)); err == nil {
					t.Fatalf("%s version %d: a byte too long", key.Name(), version)
				}
				body := len(req.AppendTo(nil))
				for cut := 1; cut <= body; cut++ {
					if err := walked(frame[:len(frame)-cut]); err == nil {
						t.Fatalf("seed %d: %s version %d: cut by %d of %d\n%+v", seed, key.Name(), version, cut, body, req)
					}
				}
			}
		}
	}
}

// TestWhatIsRefused tries requests that would end the broker, or make it allocate without bound.
func TestWhatIsRefused(t *testing.T) {
	text := func(s string) *string { return &s }
	make := func(change func(*kmsg.CreateTopicsRequestTopic)) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
		change(&topic)
		req.Topics = append(req.Topics, topic)
		return req
	}
	setting := func(name string, value *string) func(*kmsg.CreateTopicsRequestTopic) {
		return func(t *kmsg.CreateTopicsRequestTopic) {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: name, Value: value}}
		}
	}
	grow := func(count int32) kmsg.Request {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: count}}
		return req
	}
	begin := func(timeout int32) kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = text("x"), timeout
		return req
	}
	for name, c := range map[string]struct {
		frame  []byte
		reason string // "": it passes
	}{
		"negative key":             {[]byte{0xff, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff}, "key"},
		"least key":                {[]byte{0x80, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff}, "key"},
		"unknown key":              {[]byte{0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff}, "key"},
		"key of brokers":           {encoded(kmsg.NewPtrWriteTxnMarkersRequest()), "key"},
		"settings of brokers":      {encoded(kmsg.NewPtrIncrementalAlterConfigsRequest()), "key"},
		"negative version":         {[]byte{0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0}, "version"},
		"version to come":          {[]byte{0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0}, "version"},
		"header is cut":            {[]byte{0, 3, 0, 1, 0, 0}, "header"},
		"client name is cut":       {[]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 'a'}, "header"},
		"4 billion tags":           {[]byte{0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, "header"},
		"4 billion body tags":      {[]byte{0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, "body"},
		"2 billion topics":         {[]byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}, "body"},
		"many entries":             {append([]byte{0, 42, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0}, bytes.Repeat([]byte{0, 0}, 65536)...), "entries"},
		"newest ApiVersions":       {[]byte{0, 18, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 2, 'a', 2, 'b', 0, 0xff, 0xff, 0xff, 0xff, 0}, ""},
		"a topic":                  {encoded(make(func(*kmsg.CreateTopicsRequestTopic) {})), ""},
		"default partitions":       {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = -1 })), ""},
		"2 billion partitions":     {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 1<<31 - 1 })), "partitions"},
		"-2 partitions":            {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = -2 })), "partitions"},
		"no replicas":              {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 0 })), "partitions"},
		"a path":                   {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "../../x" })), "name"},
		"two dots":                 {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = ".." })), "name"},
		"no name":                  {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = "" })), "name"},
		"a long name":              {encoded(make(func(t *kmsg.CreateTopicsRequestTopic) { t.Topic = strings.Repeat("x", 250) })), "name"},
		"a segment of nothing":     {encoded(make(setting("segment.bytes", text("0")))), "setting"},
		"a number that is none":    {encoded(make(setting("retention.ms", text("soon")))), "setting"},
		"the broker's own":         {encoded(make(setting("kfake.is_internal", text("true")))), "setting"},
		"compacted":                {encoded(make(setting("cleanup.policy", text("compact,delete")))), ""},
		"no message fits":          {encoded(make(setting("max.message.bytes", text("-1")))), "setting"},
		"grow to 2 billion":        {encoded(grow(1<<31 - 1)), "partitions"},
		"grow to less than 0":      {encoded(grow(-1 << 31)), "partitions"},
		"no protocol":              {encoded(kmsg.NewPtrJoinGroupRequest()), "body"},
		"a transaction for ever":   {encoded(begin(1<<31 - 1)), "body"},
		"a transaction of no time": {encoded(begin(-5)), "body"},
	} {
		err := testGate(t).check(c.frame)
		got := ""
		if r, ok := err.(*refusal); ok {
			got = r.reason
		}
		if got != c.reason {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// TestPartitionsAreBounded: many small topics are as bad as a large one.
func TestPartitionsAreBounded(t *testing.T) {
	g := testGate(t)
	for i := range 11 {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", maxPartitions, 1
		req.Topics = append(req.Topics, topic)
		if err := g.check(encoded(req)); (err == nil) != (i < 10) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestFetchIsBounded: a fetch is cut to a bound, and starts no session.
func TestFetchIsBounded(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = version, 1<<30, 1<<31-1, 1, 0
		req.MaxWaitMillis = 77
		frame := encoded(req)
		if err := testGate(t).check(frame); err != nil {
			t.Fatal(err)
		}
		var got kmsg.FetchRequest
		got.Version = version
		if err := got.ReadFrom(frame[len(frame)-len(req.AppendTo(nil)):]); err != nil {
			t.Fatal(err)
		}
		if got.MinBytes != maxFetch || got.MaxBytes != maxFetch || got.IsolationLevel != 1 || got.MaxWaitMillis != 77 ||
			got.SessionID != 0 || version >= 7 && got.SessionEpoch != -1 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}
