package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// badEntry is input that weir must refuse. text puts a unique name into it, by which the test
// finds it in deadletter.
type badEntry struct {
	what, contentType string
	text              func(name string) string
	reason            string // the reason with which route and the gateway refuse it, or, with later, window
	later             bool   // it decodes, and only the window processor sees that its time is wrong
}

const lineNS = "text/plain; precision=ns"

// badEntries returns the bad input that is sent both to Kafka and to the gateway. Its wrong
// times are far from nowMS.
func badEntries(nowMS int64) []badEntry {
	const year = 365 * 24 * 3_600_000
	text := func(format string) func(string) string {
		return func(name string) string { return strings.ReplaceAll(format, "NAME", name) }
	}
	sample := func(timestamp any) func(string) string {
		return text(fmt.Sprintf(`{"metricName":"NAME","tags":{"host":"good0"},"timestamp":%v,"value":1}`, timestamp))
	}
	line := func(timestamp int64) func(string) string {
		return text(fmt.Sprintf("NAME,host=good1 value=1 %d", timestamp))
	}
	both := func(good, bad func(string) string) func(string) string {
		return func(name string) string { return good(name) + "\n" + bad(name) }
	}
	long := strings.Repeat("x", 9<<20)
	return []badEntry{
		{"JSON cut off", formats.JSON.ContentType, text(`{"metricName":"NAME","tags":`), "undecodable", false},
		{"not a line", lineNS, text("NAME \x00\x01\x02"), "undecodable", false},
		{"NaN in JSON", formats.JSON.ContentType, text(`{"metricName":"NAME","timestamp":1,"value":NaN}`), "not_finite", false},
		{"-Infinity in JSON", formats.JSON.ContentType, text(`{"metricName":"NAME","timestamp":1,"value":-Infinity}`), "not_finite", false},
		{"1e999 in JSON", formats.JSON.ContentType, text(`{"metricName":"NAME","timestamp":1,"value":1e999}`), "not_finite", false},
		{"1e999 in a line", lineNS, text("NAME value=1e999"), "not_finite", false},
		{"NaN in a line", lineNS, text("NAME value=NaN"), "undecodable", false}, // line protocol has no NaN
		{"empty metric name", formats.JSON.ContentType, text(`{"metricName":"","tags":{"n":"NAME"},"timestamp":1,"value":1}`), "empty_name", false},
		{"empty label name", formats.JSON.ContentType, text(`{"metricName":"NAME","tags":{"":"x"},"timestamp":1,"value":1}`), "empty_name", false},
		{"empty tag name", lineNS, text("NAME,=x value=1"), "undecodable", false},
		{"a label twice in JSON", formats.JSON.ContentType, text(`{"metricName":"NAME","tags":{"a":"1","a":"2"},"timestamp":1,"value":1}`), "duplicate_label", false},
		{"a tag twice in a line", lineNS, text("NAME,a=1,a=2 value=1"), "duplicate_label", false},
		{"invalid UTF-8 in JSON", formats.JSON.ContentType, text("{\"metricName\":\"NAME\xff\",\"timestamp\":1,\"value\":1}"), "invalid_utf8", false},
		{"invalid UTF-8 in a line", lineNS, text("NAME,a=\xc3\x28 value=1"), "invalid_utf8", false},
		{"a time in quotes", formats.JSON.ContentType, sample(`"1"`), "wrong_type", false},
		{"µs in JSON", formats.JSON.ContentType, sample(nowMS * 1000), "bad_timestamp", false},
		{"ns in JSON", formats.JSON.ContentType, sample(nowMS * 1_000_000), "bad_timestamp", false},
		{"s in JSON", formats.JSON.ContentType, sample(nowMS / 1000), "too_old", true},
		{"s in a line of ns", lineNS, line(nowMS / 1000), "too_old", true},
		{"ns in a line of s", "text/plain; precision=s", line(nowMS * 1_000_000), "bad_timestamp", false},
		{"a year ahead in JSON", formats.JSON.ContentType, sample(nowMS + year), "future", true},
		{"a year ahead in JSON, of a known series", formats.JSON.ContentType, both(sample(nowMS), sample(nowMS+year)), "future", true},
		{"a year behind in JSON", formats.JSON.ContentType, sample(nowMS - year), "too_old", true},
		{"a year behind in JSON, of a known series", formats.JSON.ContentType, both(sample(nowMS), sample(nowMS-year)), "too_old", true},
		{"a year ahead in a line", lineNS, line((nowMS + year) * 1_000_000), "future", true},
		{"a year ahead in a line, of a known series", lineNS, both(line(nowMS*1_000_000), line((nowMS+year)*1_000_000)), "future", true},
		{"a year behind in a line", lineNS, line((nowMS - year) * 1_000_000), "too_old", true},
		{"a year behind in a line, of a known series", lineNS, both(line(nowMS*1_000_000), line((nowMS-year)*1_000_000)), "too_old", true},
		{"a label of 9 MB", lineNS, text("NAME,a=" + long + " value=1"), "too_long", false},
	}
}

// goodHosts hosts send a sample per second for goodSeconds, starting at a full minute.
const (
	goodHosts   = 4
	goodSeconds = 120
)

func goodSeries(host int) schemas.Series {
	return schemas.Series{Metric: "good", Labels: schemas.NewLabels(map[string]string{"host": fmt.Sprint("good", host)})}
}

// badInput sends good and bad input to a weir in turns.
type badInput struct {
	t       *testing.T
	url     string
	kafka   *kgo.Client
	beginMS int64
	sent    int // seconds of good samples sent so far
	good    []schemas.Sample
	wanted  map[string]int // wanted value of each counter, by its name and labels in /metrics
	letters []wantedLetter
	next    int
}

// wantedLetter is a record that deadletter must hold.
type wantedLetter struct {
	what, name, stage, reason string
	value                     []byte // nil: JSON that contains the name
	origin                    *kgo.Record
}

func (b *badInput) name(path string) string {
	b.next++
	return fmt.Sprintf("bad-%s-%03d", path, b.next)
}

// sendGood sends the next seconds of all good hosts, through the gateway and Kafka in turns.
func (b *badInput) sendGood(seconds int) {
	b.t.Helper()
	for ; seconds > 0 && b.sent < goodSeconds; seconds, b.sent = seconds-1, b.sent+1 {
		var samples []schemas.Sample
		for h := range goodHosts {
			samples = append(samples, schemas.Sample{Series: goodSeries(h),
				TimeMS: b.beginMS + int64(b.sent)*1000 + int64(h), Value: float64(b.sent*goodHosts+h) / 7})
		}
		b.good = append(b.good, samples...)
		if b.sent%2 == 0 {
			postOne(b.t, b.url, samples)
		} else {
			b.produce(formats.JSON.ContentType, encode(samples))
		}
	}
}

func (b *badInput) produce(contentType string, value []byte) *kgo.Record {
	b.t.Helper()
	r := &kgo.Record{Topic: topics.Metrics, Value: value}
	if contentType != "" {
		r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte(contentType)}}
	}
	if err := b.kafka.ProduceSync(b.t.Context(), r).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *badInput) post(contentType string, body []byte) (status int, answer []byte) {
	b.t.Helper()
	path := "/api/v1/samples"
	if _, precision, line := strings.Cut(contentType, "precision="); line {
		path = "/write?precision=" + precision
	}
	resp, err := http.Post(b.url+path, contentType, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// throughKafka sends a bad entry to Kafka as a record.
func (b *badInput) throughKafka(e badEntry) {
	b.t.Helper()
	name := b.name("kafka")
	r := b.produce(e.contentType, []byte(e.text(name)))
	letter := wantedLetter{what: e.what + ", through Kafka", name: name, stage: "window", reason: e.reason}
	switch {
	case e.later:
		b.wanted[fmt.Sprintf("weir_window_samples_total{result=%q}", e.reason)]++
	case len(r.Value) > 8<<20:
		letter.reason = "too_large"
		fallthrough
	default:
		letter.stage, letter.value, letter.origin = "route", r.Value, r
		b.wanted[fmt.Sprintf("weir_route_refused_total{reason=%q}", letter.reason)]++
	}
	b.letters = append(b.letters, letter)
}

// throughGateway sends a bad entry to the gateway, and checks the answer.
func (b *badInput) throughGateway(e badEntry) {
	b.t.Helper()
	name := b.name("gateway")
	body := []byte(e.text(name))
	status, answer := b.post(e.contentType, body)
	letter := wantedLetter{what: e.what + ", through the gateway", name: name, stage: "window", reason: e.reason}
	b.letters = append(b.letters, letter)
	if e.later {
		b.wanted[fmt.Sprintf("weir_window_samples_total{result=%q}", e.reason)]++
		if status != http.StatusNoContent {
			b.t.Errorf("%s: %d %s, want 204", e.what, status, answer)
		}
		return
	}
	last := &b.letters[len(b.letters)-1]
	last.stage, last.value = "gateway", body
	b.wanted[fmt.Sprintf("weir_collect_gateway_refused_total{reason=%q}", e.reason)]++
	var told struct {
		Refused map[string]int
		Faults  []struct {
			Line          int
			Reason, Error string
		}
	}
	if err := json.Unmarshal(answer, &told); err != nil || status != http.StatusBadRequest || told.Refused[e.reason] != 1 ||
		len(told.Faults) != 1 || told.Faults[0].Line != 1 || told.Faults[0].Reason != e.reason || told.Faults[0].Error == "" {
		b.t.Errorf("%s: %d %.300s (%v), want 400 with line 1 and reason %s", e.what, status, answer, err, e.reason)
	}
}

// TestBadInput sends input that is wrong in every way through Kafka and through the gateway:
// each entry gets its reason, its counter and its letter, and the good samples in between are
// all counted, in time.
func TestBadInput(t *testing.T) {
	cluster := kafkatest.Cluster(t)
	var config pipelines.Config
	p := start(t, writeConfig(t, t.TempDir(), fmt.Sprintf(`
brokers: [%q]
shards: 4
alert_shards: 1
metrics_partitions: 1
windows:
  tiers:
  - {size: 1s, grace: 200ms, ttl: 1d}
  - {size: 10s, grace: 1s, ttl: 1d}
  - {size: 1m, grace: 2s, ttl: 1d}
`, cluster.ListenAddrs()[0])), &config)
	kafka := kafkatest.Client(t, cluster.ListenAddrs(), kgo.ProducerBatchMaxBytes(16<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	now := time.Now().UnixMilli()
	b := &badInput{t: t, url: p.url, kafka: kafka, wanted: map[string]int{}}
	b.beginMS = now - now%60_000 - 5*60_000
	live := startLive(t, p.url)

	for _, e := range badEntries(now) {
		b.throughKafka(e)
		b.sendGood(1)
		b.throughGateway(e)
		b.sendGood(1)
	}
	b.oversized()
	b.sendGood(2)
	b.precisions()
	b.flood("kafka", 100_000, func(lines []byte) { b.produce(lineNS, lines) })
	b.sendGood(2)
	b.flood("gateway", 20_000, func(lines []byte) {
		if status, answer := b.post(lineNS, lines); status != http.StatusNoContent {
			t.Fatalf("flood: %d %s", status, answer)
		}
	})
	b.sendGood(goodSeconds)
	for h := range goodHosts { // moves the watermarks past the end of all windows
		postOne(t, p.url, []schemas.Sample{{Series: goodSeries(h), TimeMS: time.Now().UnixMilli(), Value: 0}})
	}

	kafkatest.Until(t, 20*time.Second, b.checkGood)
	kafkatest.Until(t, 20*time.Second, func() error { return b.checkFlood("kafka", 100_000) })
	kafkatest.Until(t, 20*time.Second, func() error { return b.checkFlood("gateway", 20_000) })
	live.check(t)
	b.checkLetters(cluster.ListenAddrs())
	b.checkCounters()
}

// oversized sends input that is longer than weir accepts: a record of 10 MB goes to deadletter
// whole; a longer body is refused before it is read.
func (b *badInput) oversized() {
	b.t.Helper()
	name := b.name("kafka")
	r := b.produce("", append([]byte(name+" "), bytes.Repeat([]byte("y"), 10_000_000)...))
	b.letters = append(b.letters, wantedLetter{what: "10 MB record", name: name, stage: "route", reason: "too_large", value: r.Value, origin: r})
	b.wanted[`weir_route_refused_total{reason="too_large"}`]++
	if status, answer := b.post(lineNS, bytes.Repeat([]byte("y"), 10<<20+1)); status != http.StatusRequestEntityTooLarge ||
		!strings.Contains(string(answer), "at most 10485760 bytes") {
		b.t.Errorf("a body over 10 MB: %d %s, want 413 with the bound", status, answer)
	}
	b.wanted[`weir_collect_gateway_requests_total{code="413",path="/write"}`]++
}

// precisions sends the next good seconds as line protocol, one in each unit: the even hosts
// through Kafka, the odd ones through the gateway.
func (b *badInput) precisions() {
	b.t.Helper()
	for _, p := range []formats.Precision{formats.Second, formats.Millisecond, formats.Microsecond, formats.Nanosecond} {
		ms := b.beginMS + int64(b.sent)*1000
		stamp := ms * int64(time.Millisecond) / int64(p.Duration())
		for h := range goodHosts {
			s := schemas.Sample{Series: goodSeries(h), TimeMS: ms, Value: float64(b.sent) + float64(h)/4}
			b.good = append(b.good, s)
			line := fmt.Appendf(nil, "good,host=good%d value=%v %d", h, s.Value, stamp)
			if h%2 == 0 {
				b.produce(formats.Options{Format: formats.Line, Precision: p}.ContentType(), line)
			} else if status, answer := b.post(formats.Options{Format: formats.Line, Precision: p}.ContentType(), line); status != http.StatusNoContent {
				b.t.Errorf("precision %s: %d %s", p, status, answer)
			}
		}
		b.sent++
	}
}

// flood sends many series of one host and metric, each with one sample: those beyond the
// limit per metric are collapsed, and counted.
func (b *badInput) flood(path string, series int, send func(lines []byte)) {
	b.t.Helper()
	const perSend = 10_000 // all in one second, below max_rate
	for i := 0; i < series; i += perSend {
		var lines []byte
		for k := i; k < i+perSend; k++ {
			lines = fmt.Appendf(lines, "flood_%s,host=flood_%s,id=%d value=%d %d\n", path, path, k, k, (b.beginMS+int64(i/perSend)*1000)*1_000_000)
		}
		send(lines)
	}
	send(fmt.Appendf(nil, "flood_%s,host=flood_%s,id=0 value=0 %d\n", path, path, time.Now().UnixNano()))
	b.wanted[`weir_window_overflow_samples_total{limit="metric_limit"}`] += series - 2000
}

// checkFlood compares the windows of a flood, overflow included, with what was sent.
func (b *badInput) checkFlood(path string, series int) error {
	q := url.Values{"tier": {"10s"}, "limit": {"10000"}, "startTimestamp": {fmt.Sprint(b.beginMS)}, "endTimestamp": {fmt.Sprint(b.beginMS + 10_000)}}
	var page struct {
		Metrics []struct {
			Tags  map[string]string
			Count int
			Sum   float64
		}
		NextCursor string
	}
	count, sum, overflow := 0, 0.0, 0
	for {
		page.Metrics, page.NextCursor = nil, ""
		if err := getJSON(b.url+"/metrics/flood_"+path+"?"+q.Encode(), &page); err != nil {
			return err
		}
		for _, w := range page.Metrics {
			count, sum = count+w.Count, sum+w.Sum
			if w.Tags["id"] == "__overflow__" {
				overflow += w.Count
			}
		}
		if page.NextCursor == "" {
			break
		}
		q.Set("nextCursor", page.NextCursor)
	}
	if count != series || sum != float64(series)*float64(series-1)/2 || overflow != series-2000 {
		return fmt.Errorf("flood through %s: count %d, sum %v, %d of them overflow", path, count, sum, overflow)
	}
	return nil
}

// checkGood compares the windows of the good hosts with the oracle.
func (b *badInput) checkGood() error {
	want := windowtest.Oracle(b.good, 1000, 10_000, 60_000)
	for i := range want {
		want[i].FirstOff, want[i].LastOff = 0, 0 // the API does not return them
	}
	var got []schemas.Window
	for h := range goodHosts {
		for _, tier := range []int64{1000, 10_000, 60_000} {
			ws, err := apiWindows(b.url, goodSeries(h), tier, b.beginMS, b.beginMS+goodSeconds*1000)
			if err != nil {
				return err
			}
			got = append(got, ws...)
		}
	}
	return windowtest.Compare(got, want)
}

// badName matches the names that badInput.name makes.
var badName = regexp.MustCompile(`bad-(kafka|gateway)-\d{3}`)

// checkLetters reads deadletter until it has seen every wanted letter, and fails on a letter
// that is not wanted.
func (b *badInput) checkLetters(brokers []string) {
	b.t.Helper()
	reader := kafkatest.Client(b.t, brokers, kgo.ConsumeTopics(topics.DeadLetter),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxPartitionBytes(32<<20))
	missing := map[string]wantedLetter{}
	for _, l := range b.letters {
		missing[l.name] = l
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	for len(missing) > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			for _, l := range missing {
				b.t.Errorf("%s: not in deadletter", l.what)
			}
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			names := badName.FindAll(r.Value, 1)
			if headers(r)["weir.stage"] == "window" { // one letter holds all refused samples of a record
				names = badName.FindAll(r.Value, -1)
			}
			if len(names) == 0 {
				b.t.Errorf("unexpected letter: %v %.100q", headers(r), r.Value)
			}
			for _, name := range names {
				l, known := missing[string(name)]
				if !known {
					b.t.Errorf("unexpected or repeated letter: %v %.100q", headers(r), r.Value)
					continue
				}
				delete(missing, string(name))
				l.check(b.t, r)
			}
		})
	}
}

func headers(r *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, h := range r.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func (l *wantedLetter) check(t *testing.T, r *kgo.Record) {
	t.Helper()
	h := headers(r)
	if h["weir.reason"] != l.reason || h["weir.stage"] != l.stage {
		t.Errorf("%s: reason %q, stage %q; want %q, %q", l.what, h["weir.reason"], h["weir.stage"], l.reason, l.stage)
	}
	if n := min(len(l.value), topics.MaxLetterValue); l.value != nil && !bytes.Equal(r.Value, l.value[:n]) {
		t.Errorf("%s: %d bytes %.100q, want the first %d of %d bytes", l.what, len(r.Value), r.Value, n, len(l.value))
	}
	switch l.stage {
	case "route":
		if h["weir.topic"] != topics.Metrics || h["weir.partition"] != strconv.Itoa(int(l.origin.Partition)) ||
			h["weir.offset"] != strconv.FormatInt(l.origin.Offset, 10) || h["weir.error"] == "" {
			t.Errorf("%s: %v, want the origin %d/%d and the error", l.what, h, l.origin.Partition, l.origin.Offset)
		}
	case "window":
		var again []struct{ MetricName string }
		err := json.Unmarshal(r.Value, &again)
		if err != nil || !slices.ContainsFunc(again, func(s struct{ MetricName string }) bool { return s.MetricName == l.name }) {
			t.Errorf("%s: %.200q (%v), want the sample as JSON", l.what, r.Value, err)
		}
		partition, err1 := strconv.Atoi(h["weir.partition"])
		offset, err2 := strconv.Atoi(h["weir.offset"])
		if h["weir.topic"] != topics.Samples || err1 != nil || err2 != nil || partition < 0 || partition > 3 || offset < 0 {
			t.Errorf("%s: %v, want an offset in samples", l.what, h)
		}
	case "gateway":
		if h["weir.remote"] == "" || h["weir.error"] == "" || h["content-type"] == "" {
			t.Errorf("%s: %v, want the sender, the error and the content type", l.what, h)
		}
	}
}

// checkCounters compares weir's own metrics with what was sent.
func (b *badInput) checkCounters() {
	b.t.Helper()
	for key, n := range b.wanted {
		if got := counterOf(b.t, b.url, key); got != n {
			b.t.Errorf("%s: %d, want %d", key, got, n)
		}
	}
}
