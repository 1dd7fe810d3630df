package conf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Secret is a password, token or key. A file gives it as a text, as {file: path} (relative to the
// file that names it), or as {env: NAME}. However it is printed, logged or encoded, it reads
// <secret>; only Reveal returns the text.
type Secret struct {
	kind secretKind
	text string // the secret itself, the path or the variable's name
}

type secretKind uint8

const (
	unset secretKind = iota
	literal
	fromFile
	fromEnv
)

const masked = "<secret>"

// NewSecret returns a secret with a known text.
func NewSecret(text string) Secret { return Secret{literal, text} }

// SecretFile returns a secret that is read from a file.
func SecretFile(path string) Secret { return Secret{fromFile, path} }

// SecretEnv returns a secret that an environment variable holds.
func SecretEnv(name string) Secret { return Secret{fromEnv, name} }

// IsZero reports whether no secret was given.
func (s Secret) IsZero() bool { return s.kind == unset }

// Reveal returns the text, without space around it. A file or variable is read at each call, so
// that it may be changed while weir runs. Reveal returns an error that names the file or variable
// if there is none, if it is empty, or if the file is not a regular file or longer than 64 KiB.
// From then on Mask knows the text.
func (s Secret) Reveal() (string, error) {
	text, err := s.read()
	if err == nil {
		remember(text)
	}
	return text, err
}

func (s Secret) read() (string, error) {
	switch s.kind {
	case literal:
		if t := strings.TrimSpace(s.text); t != "" {
			return t, nil
		}
		return "", errors.New("secret: is empty")
	case fromFile:
		b, err := ReadFile(s.text, maxSecretBytes)
		if err != nil {
			return "", fmt.Errorf("secret: %w", err)
		}
		if t := strings.TrimSpace(string(b)); t != "" {
			return t, nil
		}
		return "", fmt.Errorf("secret: file %s is empty", s.text)
	case fromEnv:
		if t := strings.TrimSpace(os.Getenv(s.text)); t != "" {
			return t, nil
		}
		return "", fmt.Errorf("secret: environment variable %s is not set", s.text)
	default:
		return "", errors.New("secret: not given")
	}
}

// Warning tells what is dangerous about where the secret is kept, or returns "": a file that every
// user of the machine can read.
func (s Secret) Warning() string {
	if s.kind != fromFile {
		return ""
	}
	if info, err := os.Stat(s.text); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		return fmt.Sprintf("file %s can be read by every user of this machine (mode %v): chmod o-rwx it", s.text, info.Mode().Perm())
	}
	return ""
}

// String is always <secret>.
func (s Secret) String() string { return masked }

// GoString is always <secret>.
func (s Secret) GoString() string { return masked }

// Format writes <secret> whatever the verb: %d of a struct would show its fields.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalText is always <secret>: JSON and YAML use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue is always <secret>.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

func (d *Doc) decodeSecret(n *yaml.Node, path string, to *Secret) {
	if n.Kind == yaml.ScalarNode {
		if strings.TrimSpace(n.Value) == "" {
			d.wrong(n, path, "must not be empty")
			return
		}
		*to = NewSecret(strings.TrimSpace(n.Value))
		remember(to.text)
		return
	}
	const bound = "must be a text, {file: path} or {env: NAME}"
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[1].Kind != yaml.ScalarNode || n.Content[1].Value == "" {
		d.wrong(n, path, bound)
		return
	}
	switch text := n.Content[1].Value; n.Content[0].Value {
	case "file":
		if !filepath.IsAbs(text) {
			text = filepath.Join(d.dir(), text)
		}
		*to = Secret{fromFile, text}
		if w := to.Warning(); w != "" {
			d.Warn(path, w)
		}
	case "env":
		*to = Secret{fromEnv, text}
	default:
		d.wrong(n, path, bound)
	}
}
