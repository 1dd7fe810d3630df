package enginetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weir-bin") // in test.sh's folder, which it removes
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "weir")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/weir-metrics/weir").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %v\n%s", err, out)
	}
	return bin, nil
})

// Binary builds weir once for all tests of the process and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Command runs weir with args to its end and returns what it printed. An exit code other than 0 fails
// the test.
func Command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(Binary(t), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("weir %s: %v\n%s", strings.Join(args, " "), err, tail(string(out), 4000))
	}
	return string(out)
}

// Interrupted runs weir with args, interrupts it (SIGINT) once its output contains a text, and returns
// what it printed. It fails the test if the text does not come within a minute.
func Interrupted(t testing.TB, until string, args ...string) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(Binary(t), args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // the exit code tells only that it was interrupted
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	Eventually(t, time.Minute, "output of weir "+strings.Join(args, " "), func() error {
		if said := string(read(t, out.Name())); !strings.Contains(said, until) {
			return fmt.Errorf("no %q in\n%s", until, tail(said, 4000))
		}
		return nil
	})
	_ = cmd.Process.Signal(syscall.SIGINT) // an error means that it has ended
	<-ended
	return string(read(t, out.Name()))
}

// Weir is a `weir run` process that can be killed and restarted. It keeps its config, data folder and
// address.
type Weir struct {
	Name string
	URL  string // http://127.0.0.1:port
	Data string // its data folder
	args []string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and cmd.ProcessState is set
}

// Run starts `weir run` on the engines of the environment, with a config (YAML text) and further
// arguments. It does not wait until the process is ready: see Ready. The process is killed at the end of
// the test; if the test failed, the end of the process's log is shown.
func Run(t testing.TB, name, config string, args ...string) *Weir {
	t.Helper()
	return RunOn(t, name, config, append([]string{"--brokers", Kafka(t).Addr, "--cql", Cassandra(t).Addr}, args...)...)
}

// RunOn is Run, on the engines that the config or the arguments name.
func RunOn(t testing.TB, name, config string, args ...string) *Weir {
	t.Helper()
	dir := t.TempDir()
	addr := freeAddr(t)
	file := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &Weir{Name: name, URL: "http://" + addr, Data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log")}
	w.args = append([]string{"run", "--config", file, "--data", w.Data, "--http", addr}, args...)
	t.Cleanup(func() {
		w.Kill(t)
		if log, err := os.ReadFile(w.log); t.Failed() && err == nil {
			t.Logf("the end of the log of weir %s:\n%s", w.Name, tail(string(log), 8000))
			Keep(t, "weir "+w.Name+".log", log)
		}
	})
	w.Start(t)
	return w
}

// freeAddr returns an address on 127.0.0.1 that nothing listened on a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts the process again after Kill or Stop, with its config, data and address.
func (w *Weir) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w.cmd = exec.Command(Binary(t), w.args...)
	w.cmd.Stdout, w.cmd.Stderr = log, log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := w.cmd, make(chan struct{})
	w.done = done
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}()
}

// Kill ends the process with SIGKILL, if it is running, and returns when it is gone.
func (w *Weir) Kill(t testing.TB) {
	t.Helper()
	if w.done == nil {
		return
	}
	_ = w.cmd.Process.Kill() // an error means that it has ended
	<-w.done
}

// Pause stops the process (SIGSTOP) until Resume. Its ports still accept connections, but nobody answers.
func (w *Weir) Pause(t testing.TB) { t.Helper(); w.signal(t, syscall.SIGSTOP) }

// Resume continues a paused process (SIGCONT).
func (w *Weir) Resume(t testing.TB) { t.Helper(); w.signal(t, syscall.SIGCONT) }

func (w *Weir) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		t.Fatalf("weir %s: %v: %v; its log ends:\n%s", w.Name, s, err, tail(w.Log(t), 4000))
	}
}

// Stop asks the process to end (SIGTERM). It fails the test unless the process ends in time, with exit
// code 0.
func (w *Weir) Stop(t testing.TB, within time.Duration) {
	t.Helper()
	w.signal(t, syscall.SIGTERM)
	select {
	case <-w.done:
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("weir %s ended with exit code %d; its log ends:\n%s", w.Name, code, tail(w.Log(t), 4000))
		}
	case <-time.After(within):
		t.Fatalf("weir %s did not end within %v of SIGTERM", w.Name, within)
	}
}

// Running reports whether the process is running.
func (w *Weir) Running() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// Ready waits until /readyz answers 200. It fails the test if that takes longer than within, or if the
// process ends.
func (w *Weir) Ready(t testing.TB, within time.Duration) {
	t.Helper()
	Eventually(t, within, "ready weir "+w.Name, func() error {
		if !w.Running() {
			t.Fatalf("weir %s ended: %v; its log ends:\n%s", w.Name, w.cmd.ProcessState, tail(w.Log(t), 4000))
		}
		status, body, err := w.Get("/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", status, body)
		}
		return err
	})
}

var client = &http.Client{Timeout: 10 * time.Second}

// Get fetches a path of the process, with its query.
func (w *Weir) Get(path string) (status int, body string, err error) {
	resp, err := client.Get(w.URL + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Memory returns the resident memory of the running process and its peak so far, bytes.
func (w *Weir) Memory(t testing.TB) (rss, peak int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kB int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kB); n == 1 {
			rss = kB << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kB); n == 1 {
			peak = kB << 10
		}
	}
	if rss == 0 || peak == 0 {
		t.Fatalf("weir %s: no VmRSS and VmHWM in\n%s", w.Name, status)
	}
	return rss, peak
}

// Log returns everything that the process has logged since its first start.
func (w *Weir) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(w.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
