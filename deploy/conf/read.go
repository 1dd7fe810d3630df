package conf

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// The largest files that are read, bytes.
const (
	MaxConfigBytes = 1 << 20
	MaxRulesBytes  = 4 << 20
	maxSecretBytes = 64 << 10
	maxSmallBytes  = 1 << 20
)

// ReadFile reads a regular file, or what a link to one leads to, of at most most bytes. It never
// waits and never reads without a bound: for a directory, a FIFO, a socket, a device or a larger
// file, the error tells what the file is. A byte order mark, as some editors write it, is left out.
func ReadFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := readable(info, most); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	// O_NONBLOCK: do not wait if it has become a FIFO in the meantime.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := readable(info, most); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most { // it grew, or does not tell its length
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("is longer than %d bytes, the most that is read", most)}
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), nil
}

// ReadSmall is ReadFile for secrets and certificates: at most 1 MiB.
func ReadSmall(name string) ([]byte, error) { return ReadFile(name, maxSmallBytes) }

// KeyPair is tls.LoadX509KeyPair by ReadSmall.
func KeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := ReadSmall(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ReadSmall(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

func readable(info fs.FileInfo, most int64) error {
	what := ""
	switch mode := info.Mode(); {
	case mode.IsRegular() && info.Size() > most:
		return fmt.Errorf("is %d bytes long, must be at most %d", info.Size(), most)
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	case mode&fs.ModeDevice != 0:
		what = "a device"
	default:
		what = "not a regular file"
	}
	return errors.New("is " + what + ", must be a file")
}

// Cut compares now, the text of a file, with before, an earlier text that was complete, and tells
// why now looks as if it were only the beginning of what should be there; "" if it does not. It
// looks cut if before went on with more than comments, or if its last line has lost its end.
func Cut(before, now []byte) string {
	text := bytes.TrimRight(now, " \t\r\n")
	switch {
	case bytes.Equal(before, now):
	case len(text) == 0 && says(before):
		return "is empty, and was not before"
	case bytes.HasPrefix(before, text) && says(before[len(text):]):
		return fmt.Sprintf("ends after %d of the %d bytes that it had, in the middle of the previous text", len(now), len(before))
	case bytes.HasSuffix(before, []byte("\n")) && !bytes.HasSuffix(now, []byte("\n")):
		return "has no line break at its end, and had one before"
	}
	return ""
}

// says reports whether the rest of a YAML file has more than space and comments.
func says(rest []byte) bool {
	for line := range bytes.Lines(rest) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// OwnFolder makes a folder that only its owner can look into, or closes an existing one to others.
// It returns an error if another user owns it.
func OwnFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 {
		return os.Chmod(dir, info.Mode().Perm()&^others)
	}
	return nil
}
