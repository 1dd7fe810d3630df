package conf

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadFile: anything but a regular file is an error at once, and nothing is read without a bound.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("ten"), []byte("0123456789"), 0o600))
	must(syscall.Mkfifo(at("fifo"), 0o600))
	must(os.Symlink("fifo", at("link-to-fifo")))
	must(os.Symlink("ten", at("link")))
	must(os.Symlink("loop", at("loop")))
	must(os.Mkdir(at("dir"), 0o700))
	sparse, err := os.Create(at("sparse"))
	must(err)
	must(sparse.Truncate(1 << 40))
	must(sparse.Close())
	socket, err := net.Listen("unix", at("s"))
	must(err)
	defer socket.Close()
	for name, want := range map[string]string{
		at("ten"): "", at("link"): "", at("fifo"): "is a FIFO", at("link-to-fifo"): "is a FIFO", at("dir"): "is a directory", at("s"): "is a socket",
		at("sparse"): "is 1099511627776 bytes long, must be at most 10", at("none"): "no such file", at("loop"): "too many levels",
		"/dev/zero": "is a device", "/dev/tty": "is a device", "/dev/stdin": "", "": "no such file",
	} {
		if name == "/dev/stdin" {
			continue // the result depends on the user who runs the test
		}
		type answer struct {
			b   []byte
			err error
		}
		done := make(chan answer, 1)
		go func() {
			b, err := ReadFile(name, 10)
			done <- answer{b, err}
		}()
		select {
		case a := <-done:
			switch {
			case want == "" && (a.err != nil || string(a.b) != "0123456789"):
				t.Errorf("%s: %q %v", name, a.b, a.err)
			case want != "" && (a.err == nil || !strings.Contains(a.err.Error(), want)):
				t.Errorf("%s: %v, want %q", name, a.err, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: hangs", name)
		}
	}
	if _, err := ReadFile(at("ten"), 9); err == nil || !strings.Contains(err.Error(), "at most 9") {
		t.Error(err)
	}
	if b, err := ReadFile("/proc/self/status", 1<<20); err != nil || len(b) == 0 {
		t.Errorf("a file that does not say how long it is: %d bytes, %v", len(b), err)
	}
	if _, err := ReadFile("/proc/self/status", 5); err == nil || !strings.Contains(err.Error(), "longer than 5 bytes") {
		t.Error(err)
	}
	if _, err := SecretFile(at("fifo")).Reveal(); err == nil || !strings.Contains(err.Error(), "is a FIFO") {
		t.Error(err)
	}
}

// TestCut: every prefix of a file looks cut, unless it lacks only comments.
func TestCut(t *testing.T) {
	const text = "groups:\n- name: g\n  rules:\n  - {alert: a, expr: x > 80}\n  - {alert: b, expr: x > 90}\n\n# the end\n"
	whole := strings.Index(text, "\n# the")
	for n := range len(text) {
		why := Cut([]byte(text), []byte(text[:n]))
		if want := n < whole-1 || n >= whole && text[n-1] != '\n'; want && why == "" {
			t.Errorf("%q is not seen to be cut", text[:n])
		} else if n == whole && why != "" {
			t.Errorf("without its comment: %s", why)
		}
	}
	for _, now := range []string{text, text + "# more\n", text + "- name: h\n", strings.Replace(text, "80", "8", 1), "# first\n" + text, "groups: []\n",
		strings.Replace(text, "  - {alert: a, expr: x > 80}\n", "", 1)} {
		if why := Cut([]byte(text), []byte(now)); why != "" {
			t.Errorf("%q: %s", now, why)
		}
	}
	for _, now := range []string{"", "\n\n", "groups: []", strings.TrimSuffix(strings.Replace(text, "80", "70", 1), "\n")} {
		if Cut([]byte(text), []byte(now)) == "" {
			t.Errorf("%q is not seen to be cut", now)
		}
	}
	if why := Cut([]byte("a: 1"), []byte("a: 2")); why != "" {
		t.Errorf("a file that never ended in a line break: %s", why)
	}
	if why := Cut(nil, []byte("a: 2")); why != "" {
		t.Errorf("a file that is new: %s", why)
	}
}

// TestKeyPair: a certificate or key that is not a regular file is an error at once.
func TestKeyPair(t *testing.T) {
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, names := range [][2]string{{fifo, file}, {file, fifo}, {"/dev/zero", file}, {file, "/dev/zero"}, {file, file}} {
		done := make(chan error, 1)
		go func() {
			_, err := KeyPair(names[0], names[1])
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%q is a pair", names)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q: hangs", names)
		}
	}
}
