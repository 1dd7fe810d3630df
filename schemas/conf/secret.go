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

// Secret is a password, token or key. A file gives it as a text, as
// {file: path} (relative to the file it stands in), or as {env: NAME}. However
// it is printed, logged or encoded, it reads <secret>; only Reveal tells.
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

// NewSecret is a secret whose text is known.
func NewSecret(text string) Secret { return Secret{literal, text} }

// SecretFile is a secret that stands in a file.
func SecretFile(path string) Secret { return Secret{fromFile, path} }

// SecretEnv is a secret that an environment variable holds.
func SecretEnv(name string) Secret { return Secret{fromEnv, name} }

// IsZero says that no secret was given.
func (s Secret) IsZero() bool { return s.kind == unset }

// Reveal returns the text. A file and a variable are read at each call, so that
// they may be changed while weir runs; space around them is cut. It returns an
// error that names the file or variable when there is none or it is empty.
func (s Secret) Reveal() (string, error) {
	switch s.kind {
	case literal:
		return s.text, nil
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
		*to = Secret{literal, n.Value}
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
	case "env":
		*to = Secret{fromEnv, text}
	default:
		d.wrong(n, path, bound)
	}
}
