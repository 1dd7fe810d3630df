package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/operations"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// kfakeACL converts a right to an ACL of kfake.
func kfakeACL(t testing.TB, r right) kfake.ACL {
	t.Helper()
	op, err := kmsg.ParseACLOperation(r.Operation)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	acl := kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: r.Name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	if r.Kind == "group" {
		acl.Resource = kmsg.ACLResourceTypeGroup
	}
	if r.Prefixed {
		acl.Pattern = kmsg.ACLResourcePatternTypePrefixed
	}
	return acl
}

// TestDocumentedRightsSuffice: with the rights of docs/security.md each role becomes ready, and the commands work.
// TestSecuredEngines tests them in depth.
func TestDocumentedRightsSuffice(t *testing.T) {
	table := documented(t)
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "p")}
	for row, rights := range table {
		var acls []kfake.ACL
		for _, r := range rights {
			acls = append(acls, kfakeACL(t, r))
		}
		if !slices.Contains(commands, row) {
			for _, r := range table[everybody] {
				acls = append(acls, kfakeACL(t, r))
			}
		}
		opts = append(opts, kfake.User("PLAIN", userOf(row), "p", acls...))
	}
	c := kafkatest.Cluster(t, opts...)
	admin := kafkatest.Client(t, c.ListenAddrs(), kgo.SASL(plain.Auth{User: "admin", Pass: "p"}.AsMechanism()))
	shape := topics.Default()
	shape.Shards, shape.AlertShards, shape.MetricsPartitions = 2, 2, 2
	if err := topics.Ensure(t.Context(), kadm.NewClient(admin), topics.All(shape)); err != nil {
		t.Fatal(err)
	}
	load := func(row string) (*pipelines.Config, *alerts.RuleSet) {
		file := filepath.Join(t.TempDir(), "weir.yaml")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		text := fmt.Sprintf("http: %s\nmetrics_partitions: 2\nshards: 2\nalert_shards: 2\nwindows: {max_future: 4h}\nbrokers: [%q]\nkafka: {sasl: {mechanism: PLAIN, username: %s, password: p}}\n",
			l.Addr(), c.ListenAddrs()[0], userOf(row))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		config, rules, err := pipelines.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		config.Data = filepath.Join(filepath.Dir(file), "data")
		return config, rules
	}
	for _, role := range pipelines.Roles {
		t.Run(role, func(t *testing.T) {
			said := &lockedBuffer{}
			config, rules := load(role)
			p := pipelines.Process{Config: config, Rules: rules, Roles: []string{role}, Out: io.Discard, Log: slog.New(slog.NewTextHandler(said, nil))}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			kafkatest.Until(t, 20*time.Second, func() error {
				if !strings.Contains(said.String(), "every role is ready") {
					return fmt.Errorf("not ready: %s", said)
				}
				return nil
			})
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if strings.Contains(strings.ToLower(said.String()), "authoriz") {
				t.Errorf("denied: %s", said)
			}
		})
	}
	t.Run("weir shards", func(t *testing.T) {
		var out bytes.Buffer
		config, _ := load("weir shards")
		if err := (operations.Shards{Config: config, Most: 1}).Run(t.Context(), &out); err != nil || !strings.Contains(out.String(), "generation 0: 2 shards") {
			t.Errorf("%v, %s", err, &out)
		}
	})
	t.Run("weir reshard", func(t *testing.T) {
		out := &lockedBuffer{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		config, _ := load("weir reshard")
		go func() { ended <- operations.Reshard{Config: config, Shards: 4}.Run(ctx, out, io.Discard) }()
		for deadline := time.After(20 * time.Second); !strings.Contains(out.String(), "takes the samples from"); {
			select {
			case err := <-ended:
				t.Fatalf("ended with %v: %s", err, out)
			case <-deadline:
				t.Fatalf("no plan: %s", out)
			case <-time.After(20 * time.Millisecond):
			}
		}
		cancel()
		<-ended
	})
}

// lockedBuffer is a buffer that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
