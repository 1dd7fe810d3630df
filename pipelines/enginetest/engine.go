package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// Engine is a Kafka or a Cassandra that a test can kill, stop and start.
type Engine struct {
	Name string   // kafka or cassandra
	Addr string   // host:port for clients
	run  string   // its folder, if it belongs to one test
	env  []string // added to the environment of its scripts
}

// Kafka returns the broker of the environment.
func Kafka(t testing.TB) *Engine { return &Engine{Name: "kafka", Addr: env(t, "WEIR_TEST_KAFKA")} }

// Cassandra returns the store of the environment.
func Cassandra(t testing.TB) *Engine {
	return &Engine{Name: "cassandra", Addr: env(t, "WEIR_TEST_CQL")}
}

func env(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this test with make test-engines", name)
	}
	return v
}

// Kill ends the engine as a crash would, and returns when it is gone.
func (e *Engine) Kill(t testing.TB) { t.Helper(); e.script(t, "stop.sh", "KILL") }

// Stop ends the engine cleanly, and returns when it is gone.
func (e *Engine) Stop(t testing.TB) { t.Helper(); e.script(t, "stop.sh") }

// Start starts the engine with the data that it had, and returns when it is ready (4 to 10 s). If the
// engine is running, it does nothing.
func (e *Engine) Start(t testing.TB) { t.Helper(); e.script(t, "start.sh") }

func (e *Engine) script(t testing.TB, name string, args ...string) {
	t.Helper()
	script := filepath.Join(env(t, "WEIR_ENGINES"), e.Name, name)
	cmd := exec.Command(script, args...)
	cmd.Env = append(os.Environ(), e.env...)
	// The engine inherits the script's output, and would keep a pipe open.
	out, err := os.CreateTemp(t.TempDir(), "script")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said, _ := os.ReadFile(out.Name())
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", script, strings.Join(args, " "), err, said)
	}
	t.Logf("%s %s %s", e.Name, name, strings.Join(append(args, string(bytes.TrimSpace(said))), " "))
}

// Reset starts the engines if an earlier test left one down, deletes every topic and consumer group
// of Kafka, and drops the keyspace from Cassandra.
func Reset(t testing.TB, keyspace string) {
	t.Helper()
	Kafka(t).Start(t)
	Cassandra(t).Start(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	Eventually(t, 60*time.Second, "an empty Kafka", func() error {
		groups, err := adm.ListGroups(ctx)
		if err != nil {
			return err
		}
		if names := groups.Groups(); len(names) > 0 {
			if _, err := adm.DeleteGroups(ctx, names...); err != nil {
				return err
			}
			return fmt.Errorf("deleting groups %v", names)
		}
		topics, err := adm.ListTopics(ctx)
		if err != nil {
			return err
		}
		if names := topics.Names(); len(names) > 0 {
			if _, err := adm.DeleteTopics(ctx, names...); err != nil {
				return err
			}
			return fmt.Errorf("deleting topics %v", names)
		}
		return nil
	})
	CQL(t, "DROP KEYSPACE IF EXISTS "+keyspace)
}

// Eventually is kafkatest.Until, with an error that names what the test waits for.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	kafkatest.Until(t, within, func() error {
		if err := check(); err != nil {
			return fmt.Errorf("no %s: %w", what, err)
		}
		return nil
	})
}
