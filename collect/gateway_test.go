package collect

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// gatewayNow is the time on the clock of the gateways under test.
var gatewayNow = time.UnixMilli(1_700_000_000_123)

// bed is a broker, a publisher on it, and a gateway behind an HTTP server.
type bed struct {
	t       *testing.T
	cluster *kfake.Cluster
	publish *Publisher
	gateway *Gateway
	server  *httptest.Server
	reader  *kgo.Client
	reg     *prometheus.Registry
}

func newBed(t *testing.T, cfg Config) *bed {
	t.Helper()
	cluster := kafkatest.Cluster(t, kfake.SeedTopics(2, topics.Metrics), kfake.SeedTopics(1, topics.DeadLetter),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000000"}))
	b := &bed{t: t, cluster: cluster, reg: prometheus.NewRegistry()}
	var err error
	if b.publish, err = NewPublisher(cfg, kgo.SeedBrokers(cluster.ListenAddrs()...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.publish.Close)
	b.gateway = NewGateway(cfg, GatewayDeps{Publisher: b.publish, Now: func() time.Time { return gatewayNow }, Registry: b.reg, Log: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	b.gateway.Register(mux)
	b.server = httptest.NewServer(mux)
	t.Cleanup(b.server.Close)
	b.reader = kafkatest.Client(t, cluster.ListenAddrs(), kgo.ConsumeTopics(topics.Metrics, topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return b
}

// post sends a body, and returns the answer's status, Retry-After and body.
func (b *bed) post(path, body string, headers ...string) (int, string, refusal) {
	b.t.Helper()
	status, retry, answer, err := b.tryPost(path, body, headers...)
	if err != nil {
		b.t.Fatal(err)
	}
	return status, retry, answer
}

func (b *bed) tryPost(path, body string, headers ...string) (int, string, refusal, error) {
	var answer refusal
	r, err := http.NewRequest("POST", b.server.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, "", answer, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", answer, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &answer)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), answer, err
}

// read returns the next n records of metrics and deadletter.
func (b *bed) read(n int) (records []*kgo.Record) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	for len(records) < n {
		fetches := b.reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.t.Fatalf("read %d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	if len(records) > n {
		b.t.Fatalf("read %d records, want %d", len(records), n)
	}
	return records
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// counted returns a counter by its name and, unless it is "", the value of its label.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s of %q", name, label)
	return 0
}

// untilHeld polls until the gateway holds n bytes.
func (b *bed) untilHeld(n int64) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		held := int64(b.gateway.cfg.MaxHeldBytes - b.gateway.held.free())
		if held == n {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%d bytes are held, want %d", held, n)
		}
		<-time.After(5 * time.Millisecond) // then look again
	}
}

func TestWriteLines(t *testing.T) {
	b := newBed(t, Default())
	if status, _, _ := b.post("/write", "cpu,host=a usage=1i 1700000000000000000\n# c\n\nmem,host=a used=2 \r\n"); status != 204 {
		t.Fatalf("status %d, want 204", status)
	}
	r := b.read(1)[0]
	want := "cpu,host=a usage=1i 1700000000000000000\nmem,host=a used=2 1700000000123000000\n"
	if string(r.Value) != want || r.Topic != topics.Metrics || header(r, "content-type") != "text/plain; precision=ns" {
		t.Errorf("%s %q %q %s", r.Topic, r.Key, r.Value, header(r, "content-type"))
	}
	for precision, stamp := range map[string]string{"s": "1700000000", "ms": "1700000000123", "us": "1700000000123000", "u": "1700000000123000"} {
		if status, _, _ := b.post("/write?precision="+precision, "a,host=x value=1\nb,host=x value=2 5"); status != 204 {
			t.Fatalf("%s: status %d, want 204", precision, status)
		}
		r := b.read(1)[0]
		if want := "a,host=x value=1 " + stamp + "\nb,host=x value=2 5\n"; string(r.Value) != want || header(r, "content-type") != "text/plain; precision="+strings.TrimSuffix(precision, "s")+"s" {
			t.Errorf("%s: %q %s, want %q", precision, r.Value, header(r, "content-type"), want)
		}
	}
	if n := counted(t, b.reg, "weir_collect_gateway_samples_total", ""); n != 10 {
		t.Errorf("%v samples counted, want 10", n)
	}
}

// TestPartialWrite: the good lines are kept; the bad ones are named in the answer and go to deadletter.
func TestPartialWrite(t *testing.T) {
	b := newBed(t, Default())
	status, _, answer := b.post("/write?precision=ms", "a,host=x value=1 1\nbad\nb value=2 x\nc,host=x value=3 3\nworse")
	if status != 400 || answer.Accepted != 2 || len(answer.Faults) != 3 || answer.Refused[formats.Undecodable] != 2 || answer.Refused[formats.BadTimestamp] != 1 {
		t.Errorf("status %d, answer %+v", status, answer)
	}
	for i, want := range []faultAnswer{{2, 2, formats.Undecodable, ""}, {3, 3, formats.BadTimestamp, ""}, {5, 5, formats.Undecodable, ""}} {
		if f := answer.Faults[i]; f.Line != want.Line || f.Entry != want.Entry || f.Reason != want.Reason || f.Error == "" {
			t.Errorf("fault %+v, want %+v", f, want)
		}
	}
	got := map[string]string{}
	for _, r := range b.read(3) {
		if r.Topic == topics.Metrics {
			got["good"] = string(r.Value)
			continue
		}
		got[header(r, "weir.reason")] = string(r.Value)
		if header(r, "weir.stage") != "gateway" || header(r, "weir.error") == "" || header(r, "content-type") != "text/plain; precision=ms" ||
			!strings.HasPrefix(header(r, "weir.remote"), "127.0.0.1:") {
			t.Errorf("headers %v", r.Headers)
		}
	}
	for key, want := range map[string]string{"good": "a,host=x value=1 1\nc,host=x value=3 3\n", "undecodable": "bad\nworse", "bad_timestamp": "b value=2 x"} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
	if n := counted(t, b.reg, "weir_collect_gateway_refused_total", "undecodable"); n != 2 {
		t.Errorf("%v counted as undecodable, want 2", n)
	}

	status, _, answer = b.post("/write", strings.Repeat("bad\n", maxFaults+1))
	if status != 400 || len(answer.Faults) != maxFaults || answer.Refused[formats.Undecodable] != maxFaults+1 {
		t.Errorf("status %d, %d faults, refused %v", status, len(answer.Faults), answer.Refused)
	}
}

func TestWriteJSON(t *testing.T) {
	b := newBed(t, Default())
	good := func(name string) string {
		return `{"metricName":"` + name + `","tags":{"host":"a"},"timestamp":1,"value":2}`
	}
	if status, _, _ := b.post("/api/v1/samples", good("a")+"\n["+good("b")+"]"); status != 204 {
		t.Errorf("status %d, want 204", status)
	}
	if r := b.read(1)[0]; string(r.Value) != "["+good("a")+","+good("b")+"]" || header(r, "content-type") != "application/json" {
		t.Errorf("%q %s", r.Value, header(r, "content-type"))
	}
	status, _, answer := b.post("/api/v1/samples", "["+good("a")+",\n"+`{"value":NaN}`+","+good("b")+"]")
	if status != 400 || answer.Accepted != 2 || len(answer.Faults) != 1 || answer.Faults[0].Reason != formats.NotFinite || answer.Faults[0].Line != 2 {
		t.Errorf("status %d, answer %+v", status, answer)
	}
	for _, r := range b.read(2) {
		want := map[string]string{topics.Metrics: "[" + good("a") + "," + good("b") + "]", topics.DeadLetter: `{"value":NaN}`}[r.Topic]
		if string(r.Value) != want {
			t.Errorf("%s: %q, want %q", r.Topic, r.Value, want)
		}
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a bytes.Buffer does not fail
	_ = w.Close()
	return b.String()
}

func TestLimits(t *testing.T) {
	cfg := Default()
	cfg.MaxBodyBytes = 2000
	cfg.MaxHeldBytes, cfg.MaxHeldPerClient = 4096, 4096
	b := newBed(t, cfg)
	line := func(n int) string { return `a s="` + strings.Repeat("x", n-len(`a s="",v=1 1`)) + `",v=1 1` }
	for _, c := range []struct {
		name, path, body string
		headers          []string
		want             int
	}{
		{"as long as it may be", "/write", line(2000), nil, 204},
		{"too long", "/write", line(2001), nil, 413},
		{"gzip", "/write", zipped(line(2000)), []string{"Content-Encoding", "gzip"}, 204},
		{"gzip, too long", "/write", zipped(line(2001)), []string{"Content-Encoding", "gzip"}, 413},
		{"gzip that is none", "/write", "a v=1", []string{"Content-Encoding", "gzip"}, 400},
		{"gzip that breaks off", "/write", zipped(line(2000))[:30], []string{"Content-Encoding", "gzip"}, 400},
		{"other encoding", "/write", "a v=1", []string{"Content-Encoding", "br"}, 415},
		{"other precision", "/write?precision=h", "a v=1", nil, 400},
		{"empty", "/write", "", nil, 204},
	} {
		if status, _, answer := b.post(c.path, c.body, c.headers...); status != c.want {
			t.Errorf("%s: status %d, want %d: %s", c.name, status, c.want, answer.Message)
		}
	}
	b.untilHeld(0)
	resp, err := http.Get(b.server.URL + "/write")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("GET: status %d, want 405", resp.StatusCode)
	}
}

// TestAnswerWaitsForKafka holds back the broker's answer. The answer to the sender must wait for it, and the next sender finds the
// budget used up.
func TestAnswerWaitsForKafka(t *testing.T) {
	cfg := Default()
	cfg.MaxBodyBytes, cfg.MaxHeldBytes, cfg.MaxHeldPerClient = 16<<10, 16<<10, 16<<10
	b := newBed(t, cfg)
	arrived, release := make(chan struct{}), make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) })
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		arrive()
		<-release
		return nil, nil, false
	})
	answered := make(chan int, 1)
	go func() {
		status, _, _, _ := b.tryPost("/write", "a v=1 1")
		answered <- status
	}()
	<-arrived
	select {
	case status := <-answered:
		t.Fatalf("answered %d before Kafka did", status)
	default:
	}
	status, retry, _ := b.post("/write", "b v=1 1")
	if status != 429 || retry != retryAfter {
		t.Errorf("status %d, Retry-After %q, want 429 and %s", status, retry, retryAfter)
	}
	close(release)
	if status := <-answered; status != 204 {
		t.Errorf("status %d, want 204", status)
	}
	b.untilHeld(0)
	if status, _, _ := b.post("/write", "c v=1 1"); status != 204 {
		t.Errorf("afterwards: status %d, want 204", status)
	}
}

func TestKafkaRefuses(t *testing.T) {
	cfg := Default()
	cfg.AckTimeout = conf.Duration(time.Second)
	b := newBed(t, cfg)
	b.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		p := req.(*kmsg.ProduceRequest)
		resp := p.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range p.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, partition := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = partition.Partition, kerr.NotEnoughReplicas.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	status, retry, _ := b.post("/write", "a v=1 1")
	if status != 503 || retry != retryAfter {
		t.Errorf("status %d, Retry-After %q, want 503 and %s", status, retry, retryAfter)
	}
	b.untilHeld(0)
	if n := counted(t, b.reg, "weir_collect_gateway_samples_total", ""); n != 0 {
		t.Errorf("%v samples counted as written", n)
	}
}

// TestAHostStaysInItsPartition: a host's samples go to one partition, in order, repeats included; but a body with many hosts does
// not become a record for each.
func TestAHostStaysInItsPartition(t *testing.T) {
	b := newBed(t, Default())
	const hosts = 3000
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	at := map[string]int32{}
	for round := range 3 {
		var lines, objects []string
		for h := range hosts {
			lines = append(lines, fmt.Sprintf("cpu,host=web%d usage=%d 1", h, round))
			objects = append(objects, fmt.Sprintf(`{"metricName":"mem","tags":{"host":"web%d"},"timestamp":1,"value":%d}`, h, round))
		}
		for path, body := range map[string]string{"/write": strings.Join(lines, "\n"), "/api/v1/samples": "[" + strings.Join(objects, ",") + "]"} {
			if status, _, answer := b.post(path, body); status != 204 {
				t.Fatalf("%s: %d %+v", path, status, answer)
			}
			read, records := 0, 0
			d := formats.NewDecoder()
			for read < hosts {
				fetches := b.reader.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatalf("%s: %d of %d hosts read: %v", path, read, hosts, err)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					records++
					d.ResetBy(header(r, "content-type"), r.Value, 0)
					for e := d.Next(); e != nil; e = d.Next() {
						read++
						host := e.Samples[0].Series.Labels.Get("host")
						if was, ok := at[host]; ok && was != r.Partition {
							t.Fatalf("%s is in the partitions %v and %v", host, was, r.Partition)
						}
						at[host] = r.Partition
					}
				})
			}
			if records > keys {
				t.Errorf("%s: %d records of one body, want at most %d", path, records, keys)
			}
		}
	}
	used := map[int32]bool{}
	for _, p := range at {
		used[p] = true
	}
	if len(at) != hosts || len(used) != 2 {
		t.Errorf("%d hosts in %d partitions, want %d in both", len(at), len(used), hosts)
	}
}

func TestLongBodies(t *testing.T) {
	b := newBed(t, Default())
	var body strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&body, "cpu,host=web,core=%05d usage=%d 1700000000000000000\n", i, i)
	}
	long := "a,h=" + strings.Repeat("x", 4096) + ` v=1,s="` + strings.Repeat("y", recordBytes) + `" 1`
	status, _, answer := b.post("/write", body.String()+long)
	if status != 400 || answer.Accepted != 60_000 || answer.Refused[formats.TooLong] != 1 {
		t.Fatalf("status %d, accepted %d, refused %v", status, answer.Accepted, answer.Refused)
	}
	n, good, letters := body.Len()/recordBytes+2, 0, 0
	for _, r := range b.read(n) {
		if r.Topic == topics.DeadLetter {
			letters++
			if string(r.Value) != long[:topics.MaxLetterValue] || header(r, topics.HeaderCut) != fmt.Sprint("value=", len(long)) {
				t.Errorf("deadletter has %d bytes of %d", len(r.Value), len(long))
			}
			continue
		}
		good += bytes.Count(r.Value, []byte("\n"))
		if len(r.Value) > recordBytes || r.Value[len(r.Value)-1] != '\n' || !bytes.HasPrefix(r.Value, []byte("cpu,")) {
			t.Errorf("a record of %d bytes, %q…", len(r.Value), r.Value[:20])
		}
	}
	if good != 60_000 || letters != 1 {
		t.Errorf("%d lines and %d letters, want 60000 and 1", good, letters)
	}
}
