//go:build engines

package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/weir-metrics/weir/pipelines/enginetest"
)

const (
	least      = 300       // attacks in the suite
	mostMemory = 700 << 20 // most resident memory of weir, bytes
)

// TestAttack makes every attack on one weir with the embedded broker, while an honest sender is served, prints how each was
// refused, starts weir again on the poisoned data, and compares the honest sender's windows.
func TestAttack(t *testing.T) {
	attacks := All()
	if len(attacks) < least {
		t.Fatalf("%d attacks, want at least %d", len(attacks), least)
	}
	w := start(t)
	honest := newHonest(t, w.HTTP)
	var report bytes.Buffer
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', 0)
	failed := 0
	for _, a := range attacks {
		how, err := a.Do(t.Context(), w.Target)
		if err != nil {
			failed++
			how = "NOT REFUSED: " + err.Error()
			t.Errorf("%s %s: %v", a.Kind, a.Name, err)
		}
		fmt.Fprintf(table, "%s\t%.60q\t%s\n", a.Kind, a.Name, how)
		if err := w.alive(); err != nil {
			t.Fatalf("after %s %s: %v", a.Kind, a.Name, err)
		}
	}
	_ = table.Flush() // to memory
	for line := range strings.Lines(report.String()) {
		t.Log(strings.TrimRight(line, "\n"))
	}
	peak := w.memory(t)
	honest.stop(t)
	w.stop(t)
	w.run(t)
	honest.compare(t, w.HTTP)
	t.Logf("%d attacks, %d not refused; at most %d MB resident; %d honest samples counted", len(attacks), failed, peak>>20, honest.sent)
	if peak > mostMemory {
		t.Errorf("weir had %d MB resident, at most %d", peak>>20, mostMemory>>20)
	}
}

// weir is the process that is attacked.
type weir struct {
	Target
	config, data string
	cmd          *exec.Cmd
	log          *os.File
	done         chan struct{}
}

func start(t *testing.T) *weir {
	t.Helper()
	dir := t.TempDir()
	port := free(t)
	w := &weir{config: filepath.Join(dir, "weir.yaml"), data: filepath.Join(dir, "data")}
	w.Target = Target{HTTP: free(t), Broker: port, Binary: enginetest.Binary(t), Dir: filepath.Join(dir, "files")}
	_, number, _ := net.SplitHostPort(port)
	config := fmt.Sprintf("broker: {port: %s}\nwindows:\n  tiers:\n  - {size: 2s, grace: 500ms, ttl: 1d}\n  - {size: 10s, grace: 1s, ttl: 1d}\nagent: {interval: 1s}\nweb: {header_timeout: 1s, body_timeout: 2s}\n", number)
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // an error means that it has ended
		<-w.done
		if t.Failed() {
			b, _ := os.ReadFile(w.log.Name())
			t.Logf("the end of weir's log:\n%s", b[max(0, len(b)-6000):])
		}
		_ = w.log.Close()
	})
	w.run(t)
	return w
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts the process and waits until it is ready.
func (w *weir) run(t *testing.T) {
	t.Helper()
	w.cmd = exec.Command(w.Binary, "run", "--config", w.config, "--data", w.data, "--http", w.HTTP)
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := w.cmd, make(chan struct{})
	w.done = done
	go func() { defer close(done); _ = cmd.Wait() }() // how it ended is in cmd.ProcessState
	enginetest.Eventually(t, time.Minute, "ready weir", func() error {
		if err := w.alive(); err != nil {
			return err
		}
		status, answer, err := send(t.Context(), w.Target, "GET", "/readyz", nil, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, answer)
		}
		return err
	})
}

func (w *weir) alive() error {
	select {
	case <-w.done:
		return fmt.Errorf("weir ended: %v", w.cmd.ProcessState)
	default:
		return nil
	}
}

func (w *weir) stop(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.done:
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("weir ended with exit code %d", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("weir does not stop")
	}
}

// memory returns the peak of the process's resident memory, bytes.
func (w *weir) memory(t *testing.T) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); n == 1 {
			return bytes << 10
		}
	}
	t.Fatalf("no VmHWM in\n%s", status)
	return 0
}

// honest sends one sample of each of a few hosts every other second, at whole seconds.
type honest struct {
	end    context.CancelFunc
	done   sync.WaitGroup
	failed error
	sent   int
	at     []int64 // times of the samples of each host, ms
}

var hosts = []string{"honest01", "honest02", "honest03"}

func newHonest(t *testing.T, address string) *honest {
	ctx, end := context.WithCancel(t.Context())
	h := &honest{end: end}
	h.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			at := time.Now().Truncate(2 * time.Second).UnixMilli()
			if !slices.Contains(h.at, at) {
				var lines bytes.Buffer
				for i, host := range hosts {
					fmt.Fprintf(&lines, "load,host=%s v=%d %d\n", host, i+1, at*1_000_000)
				}
				status, answer, err := send(context.WithoutCancel(ctx), Target{HTTP: address}, "POST", "/write", nil, &lines)
				if err != nil || status/100 != 2 {
					h.failed = fmt.Errorf("%d %s %v", status, answer, err)
					return
				}
				h.at, h.sent = append(h.at, at), h.sent+len(hosts)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return h
}

func (h *honest) stop(t *testing.T) {
	t.Helper()
	h.end()
	h.done.Wait()
	if h.failed != nil {
		t.Errorf("the honest sender was refused: %v", h.failed)
	}
	if h.sent == 0 {
		t.Fatal("the honest sender sent nothing")
	}
}

// compare checks that the windows of 2s hold exactly the honest samples.
func (h *honest) compare(t *testing.T, address string) {
	t.Helper()
	for i, host := range hosts {
		enginetest.Eventually(t, time.Minute, "windows of "+host, func() error {
			q := url.Values{"series": {fmt.Sprintf("load.v{host=%q}", host)}, "tier": {"2s"}, "limit": {"10000"}, "from": {fmt.Sprint(h.at[0])}}
			resp, err := client.Get("http://" + address + "/api/v1/windows?" + q.Encode())
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			var got []struct {
				Start int64
				Count int
				Sum   float64
			}
			if err := json.Unmarshal(b, &got); err != nil {
				return fmt.Errorf("%d %s", resp.StatusCode, short(string(b)))
			}
			if len(got) != len(h.at) {
				return fmt.Errorf("%d windows, want %d", len(got), len(h.at))
			}
			for n, w := range got {
				if w.Start != h.at[n] || w.Count != 1 || w.Sum != float64(i+1) {
					return fmt.Errorf("window %d is %+v, want one sample of %d at %d", n, w, i+1, h.at[n])
				}
			}
			return nil
		})
	}
}
