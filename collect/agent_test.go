package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
	"github.com/weir-metrics/weir/schemas/topics"
)

// script is a Sender that gives scripted answers, and then nil.
type script struct {
	answers []error
	calls   []call
}

type call struct {
	at    time.Duration // since the start
	first float64       // value of the first sample
	err   error
}

func (s *script) sender(start time.Time) senderFunc {
	return func(_ context.Context, samples []schemas.Sample) error {
		var err error
		if len(s.answers) > 0 {
			err, s.answers = s.answers[0], s.answers[1:]
		}
		s.calls = append(s.calls, call{time.Since(start), samples[0].Value, err})
		return err
	}
}

type senderFunc func(context.Context, []schemas.Sample) error

func (f senderFunc) Send(ctx context.Context, samples []schemas.Sample) error { return f(ctx, samples) }

// counting returns two samples per reading, whose value is the number of the reading.
func counting() func(context.Context, time.Time) ([]schemas.Sample, error) {
	n := 0.0
	return func(_ context.Context, now time.Time) ([]schemas.Sample, error) {
		n++
		s := schemas.Sample{Series: schemas.Series{Metric: "m"}, TimeMS: now.UnixMilli(), Value: n}
		return []schemas.Sample{s, s}, nil
	}
}

// runAgent runs an agent for a time, in a synctest bubble.
func runAgent(t *testing.T, cfg AgentConfig, s *script, d time.Duration) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	a := NewAgent(cfg, AgentDeps{Read: counting(), Send: s.sender(time.Now()), Registry: reg, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return reg
}

func TestAgentSendsAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		reg := runAgent(t, DefaultAgent(), s, 21*time.Second)
		want := []call{{0, 1, nil}, {5 * time.Second, 2, nil}, {10 * time.Second, 3, nil}, {15 * time.Second, 4, nil}, {20 * time.Second, 5, nil}}
		if !slices.Equal(s.calls, want) {
			t.Errorf("calls %v, want %v", s.calls, want)
		}
		if sent := counted(t, reg, "weir_collect_agent_sent_samples_total", ""); sent != 10 {
			t.Errorf("%v samples counted as sent, want 10", sent)
		}
	})
}

// TestAgentKeepsOrder: while the gateway asks to wait or is down, readings queue up. Afterwards they are sent in order, and none
// again after it was accepted.
func TestAgentKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("connection refused")
		busy := &LaterError{17 * time.Second, errors.New("429")}
		s := &script{answers: []error{nil, busy, away, nil}}
		reg := runAgent(t, DefaultAgent(), s, 31*time.Second)
		var values []float64
		for _, c := range s.calls {
			values = append(values, c.first)
		}
		if want := []float64{1, 2, 2, 2, 3, 4, 5, 6, 7}; !slices.Equal(values, want) {
			t.Fatalf("sent readings %v, want %v", values, want)
		}
		if wait := s.calls[2].at - s.calls[1].at; wait < busy.After || wait > busy.After*5/4 {
			t.Errorf("came back after %s, but Retry-After was %s", wait, busy.After)
		}
		if wait := s.calls[3].at - s.calls[2].at; wait < firstBackoff/2 || wait > 2*firstBackoff {
			t.Errorf("came back after %s, want about %s", wait, firstBackoff)
		}
		if retries := counted(t, reg, "weir_collect_agent_retries_total", ""); retries != 2 {
			t.Errorf("%v retries counted, want 2", retries)
		}
		if sent, read := counted(t, reg, "weir_collect_agent_sent_samples_total", ""), counted(t, reg, "weir_collect_agent_read_samples_total", ""); sent != 14 || read != 14 {
			t.Errorf("%v of %v samples counted as sent, want 14 of 14", sent, read)
		}
	})
}

// TestAgentComesBackSoon: however long a gateway has been down, an agent comes back when it was told to, or after a few seconds,
// and not at the same time as others.
func TestAgentComesBackSoon(t *testing.T) {
	for _, c := range []struct {
		name        string
		err         error
		least, most time.Duration // between two attempts, once the gateway has been down for long
	}{
		{"away", errors.New("connection refused"), maxBackoff / 2, maxBackoff},
		{"told to come in a second", &LaterError{time.Second, errors.New("503")}, time.Second, 1250 * time.Millisecond},
		{"told to come at once", &LaterError{0, errors.New("503")}, firstBackoff / 2, firstBackoff},
		{"told to come next year", &LaterError{365 * 24 * time.Hour, errors.New("503")}, maxRetryAfter, maxRetryAfter * 5 / 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				for range 40 {
					s.answers = append(s.answers, c.err)
				}
				runAgent(t, DefaultAgent(), s, 5*time.Hour)
				pauses := map[time.Duration]bool{}
				for i := 10; i <= 40; i++ {
					wait := s.calls[i].at - s.calls[i-1].at
					if wait < c.least || wait > c.most {
						t.Errorf("attempt %d came %s after the previous one, want %s to %s", i, wait, c.least, c.most)
					}
					pauses[wait] = true
				}
				if len(pauses) < 10 {
					t.Errorf("only %d different pauses: agents come back at the same time", len(pauses))
				}
			})
		})
	}
}

// TestAgentCountsWhatItDrops: sent and dropped samples add up to those that were read.
func TestAgentCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []error{&RefusedError{1, errors.New("400")}}}
		for range 100 {
			s.answers = append(s.answers, errors.New("connection refused"))
		}
		cfg := DefaultAgent()
		cfg.BufferBytes = 3 * 2 * (64 + 1) // three readings
		reg := runAgent(t, cfg, s, 52*time.Second)
		// Eleven readings: one half sent, one being sent, three in the queue, and six dropped.
		for reason, want := range map[string]float64{dropRefused: 1, dropBufferFull: 12, dropStopped: 8} {
			if n := counted(t, reg, "weir_collect_agent_dropped_samples_total", reason); n != want {
				t.Errorf("%s: %v dropped, want %v", reason, n, want)
			}
		}
		if sent := counted(t, reg, "weir_collect_agent_sent_samples_total", ""); sent != 1 {
			t.Errorf("%v samples counted as sent, want 1", sent)
		}
	})
}

func samplesOf(values ...float64) (samples []schemas.Sample) {
	for i, v := range values {
		samples = append(samples, schemas.Sample{TimeMS: int64(i), Value: v,
			Series: schemas.Series{Metric: "a\"b\n\x01é", Labels: schemas.Labels{{Name: "host", Value: `w\eb`}, {Name: "x", Value: "y"}}}})
	}
	return samples
}

// TestAgentToGateway sends through a real gateway to the topic, and reads back what was sent.
func TestAgentToGateway(t *testing.T) {
	b := newBed(t, Default())
	sender, err := NewGatewaySender(b.server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Sender{"gateway": sender, "publisher": b.publish} {
		want := samplesOf(1, -2.5e300, 0.1)
		if err := s.Send(t.Context(), want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := b.read(1)[0]
		d := formats.NewDecoder()
		d.ResetBy(header(r, "content-type"), r.Value, 0)
		var got []schemas.Sample
		for e := d.Next(); e != nil; e = d.Next() {
			got = append(got, e.Samples...)
		}
		if len(got) != len(want) || r.Topic != topics.Metrics {
			t.Fatalf("%s: %d samples on %s, want %d", name, len(got), r.Topic, len(want))
		}
		for i := range want {
			if got[i].Series.String() != want[i].Series.String() || got[i].Value != want[i].Value || got[i].TimeMS != want[i].TimeMS {
				t.Errorf("%s: got %v, want %v", name, got[i], want[i])
			}
		}
	}
	bad := samplesOf(1, 2)
	bad[1].TimeMS = formats.MaxTimeMS + 1
	var refused *RefusedError
	if err := sender.Send(t.Context(), bad); !errors.As(err, &refused) || refused.Refused != 1 {
		t.Errorf("one bad sample of two: %v", err)
	}
}

func TestGatewaySenderErrors(t *testing.T) {
	var status int
	var retry string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retry)
		w.WriteHeader(status)
	}))
	sender, err := NewGatewaySender(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status  int
		retry   string
		refused int
		later   time.Duration
	}{
		{400, "", 2, 0}, {413, "", 2, 0}, {429, "7", 0, 7 * time.Second}, {503, "0", 0, 0}, {503, "soon", 0, 0}, {500, "", 0, 0}, {404, "", 0, 0},
	} {
		status, retry = c.status, c.retry
		err := sender.Send(t.Context(), samplesOf(1, 2))
		var refused *RefusedError
		var later *LaterError
		if err == nil || errors.As(err, &refused) != (c.refused > 0) || refused != nil && refused.Refused != c.refused ||
			errors.As(err, &later) && later.After != c.later || later == nil && c.later > 0 {
			t.Errorf("%d %q: %v", c.status, c.retry, err)
		}
	}
	server.Close()
	if err := sender.Send(t.Context(), samplesOf(1)); err == nil || errors.As(err, new(*RefusedError)) {
		t.Errorf("a gateway that is down: %v", err)
	}
	for _, bad := range []string{"127.0.0.1:7070", "ftp://x", "http://", "http://u:secret@/%zz"} {
		if _, err := NewGatewaySender(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestOtherAnswersLoseNothing: after an answer that does not mean that the samples are safe, they are sent again; the numbers in
// a strange gateway's answer are believed only within bounds.
func TestOtherAnswersLoseNothing(t *testing.T) {
	status, location, text := 0, "", ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			t.Errorf("a redirect was followed")
		}
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // the client notices an error
	}))
	defer server.Close()
	sender, err := NewGatewaySender(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	login, err := sender.As(Login{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*GatewaySender{sender, login} {
		for _, status = range []int{301, 302, 303, 307, 308} {
			location = server.URL + "/login"
			if err := s.Send(t.Context(), samplesOf(1, 2)); err == nil || errors.As(err, new(*RefusedError)) || !strings.Contains(err.Error(), "/login") {
				t.Errorf("%d: %v", status, err)
			}
		}
		location = ""
		for _, status = range []int{200, 201, 202, 401, 403, 405, 408, 500, 502} {
			if err := s.Send(t.Context(), samplesOf(1, 2)); err == nil || errors.As(err, new(*RefusedError)) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
	status = 400
	for _, c := range []struct {
		text    string
		refused int
	}{{`{"accepted":1000000}`, 0}, {`{"accepted":-5}`, 2}, {`{"accepted":1}`, 1}, {`<html>`, 2}, {``, 2}, {`{"accepted":1,"message":"` + strings.Repeat("x", 100_000) + `"}`, 1}} {
		text = c.text
		var refused *RefusedError
		if err := sender.Send(t.Context(), samplesOf(1, 2)); !errors.As(err, &refused) || refused.Refused != c.refused {
			t.Errorf("%.40s: %v, want %d refused", c.text, err, c.refused)
		}
	}
}

// TestTooLongReadingsAreSplit: a gateway with a low max_body_bytes gets all samples except those that are too long by themselves.
func TestTooLongReadingsAreSplit(t *testing.T) {
	cfg := Default()
	cfg.MaxBodyBytes = 1024
	b := newBed(t, cfg)
	sender, err := NewGatewaySender(b.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var samples []schemas.Sample
	for i := range 100 {
		samples = append(samples, schemas.Sample{Series: schemas.Series{Metric: "m", Labels: schemas.Labels{{Name: "i", Value: fmt.Sprint(i)}}}, TimeMS: 1, Value: 1})
	}
	samples[50].Series.Metric = strings.Repeat("m", 2000)
	err = sender.Send(t.Context(), samples)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Refused != 1 {
		t.Fatalf("%v, want one refused", err)
	}
	if got := counted(t, b.reg, "weir_collect_gateway_samples_total", ""); got != 99 {
		t.Errorf("%v samples were accepted, want 99", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"3", 3 * time.Second, true}, {"Sat, 21 Nov 2026 10:00:09 GMT", 9 * time.Second, true},
		{"Sat, 21 Nov 2026 09:00:00 GMT", 0, true}, {"-1", 0, false}, {"", 0, false},
	} {
		if got, ok := parseRetryAfter(c.text, now); got != c.want || ok != c.ok {
			t.Errorf("%q: %s %v, want %s %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestMachine(t *testing.T) {
	m, err := NewMachine("web01")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		samples, err := m.Read(t.Context(), time.UnixMilli(1000))
		if err != nil {
			t.Logf("some metrics cannot be read on this machine: %v", err)
		}
		has := map[string]float64{}
		seen := map[string]bool{}
		for _, s := range samples {
			if err := s.Series.Validate(); err != nil {
				t.Error(err)
			}
			if s.TimeMS != 1000 || s.Series.Labels.Get("host") != "web01" || seen[s.Series.String()] {
				t.Errorf("%v", s)
			}
			if strings.Contains(s.Series.Metric, "percent") || strings.HasPrefix(s.Series.Metric, "cpu.usage") {
				if s.Value < 0 || s.Value > 100 {
					t.Errorf("%s is %v %%", s.Series, s.Value)
				}
			}
			seen[s.Series.String()] = true
			has[s.Series.Metric] = s.Value
		}
		for _, name := range []string{"up", "load.1", "mem.total", "mem.used_percent", "disk.used_percent", "net.bytes_recv"} {
			if _, ok := has[name]; !ok {
				t.Errorf("no %s", name)
			}
		}
		if has["up"] != 1 || has["mem.total"] <= 0 || has["mem.used"] > has["mem.total"] {
			t.Errorf("up %v, %v of %v bytes of memory used", has["up"], has["mem.used"], has["mem.total"])
		}
		for _, series := range []string{`cpu.usage{host="web01"}`, `cpu.usage_core{cpu="0",host="web01"}`} {
			if seen[series] != (i == 1) { // a difference needs two readings
				t.Errorf("reading %d: %s: %v", i, series, seen[series])
			}
		}
	}
}

func TestBusyPercent(t *testing.T) {
	from := cpu.TimesStat{User: 100, System: 50, Idle: 1000, Iowait: 10}
	for _, c := range []struct {
		name string
		to   cpu.TimesStat
		want float64
	}{
		{"idle", cpu.TimesStat{User: 100, System: 50, Idle: 1004, Iowait: 11}, 0},
		{"busy", cpu.TimesStat{User: 101, System: 52, Idle: 1000, Iowait: 10, Nice: 1}, 100},
		{"quarter", cpu.TimesStat{User: 100.5, System: 50, Idle: 1003, Iowait: 10, Steal: 0.25, Softirq: 0.25}, 25},
		{"guest is part of user", cpu.TimesStat{User: 101, Guest: 1, System: 50, Idle: 1001, Iowait: 10}, 50},
		{"no time passed", from, 0},
		{"iowait went back", cpu.TimesStat{User: 101, System: 50, Idle: 1000, Iowait: 9}, 100},
	} {
		if got := busyPercent(from, c.to); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	type file struct {
		Collect Config      `yaml:"collect"`
		Agent   AgentConfig `yaml:"agent"`
	}
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"collect: {max_body_bytes: 1024, max_held_bytes: 1024, max_held_per_client_bytes: 1024, body_timeout: 1s, min_body_bytes_per_second: 1, ack_timeout: 1s}\nagent: {interval: 100ms, buffer_bytes: 65536}", ""},
		{"collect: {max_body_bytes: 16777216, max_held_bytes: 17179869184, ack_timeout: 1m}\nagent: {interval: 1h, buffer_bytes: 1073741824}", ""},
		{"collect: {max_body_bytes: 1023}", "collect.max_body_bytes"},
		{"collect: {max_body_bytes: 16777217}", "collect.max_body_bytes"},
		{"collect: {max_held_bytes: 10485759}", "collect.max_held_bytes"},
		{"collect: {max_held_bytes: 17179869185}", "collect.max_held_bytes"},
		{"collect: {max_held_per_client_bytes: 10485759}", "collect.max_held_per_client_bytes"},
		{"collect: {max_held_per_client_bytes: 67108865}", "collect.max_held_per_client_bytes"},
		{"collect: {body_timeout: 999ms}", "collect.body_timeout"},
		{"collect: {min_body_bytes_per_second: 0}", "collect.min_body_bytes_per_second"},
		{"collect: {ack_timeout: 999ms}", "collect.ack_timeout"},
		{"collect: {ack_timeout: 61s}", "collect.ack_timeout"},
		{"agent: {interval: 99ms}", "agent.interval"},
		{"agent: {interval: 61m}", "agent.interval"},
		{"agent: {buffer_bytes: 65535}", "agent.buffer_bytes"},
		{"agent: {buffer_bytes: 1073741825}", "agent.buffer_bytes"},
		{"agent: {host: " + strings.Repeat("x", 256) + "}", "agent.host"},
	} {
		f := file{Default(), DefaultAgent()}
		d := conf.Parse("weir.yaml", []byte(c.text), &f)
		f.Collect.Validate("collect", d)
		f.Agent.Validate("agent", d)
		err := d.Err()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want+":") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want a fault in %q", c.text, err, c.want)
		}
	}
}
