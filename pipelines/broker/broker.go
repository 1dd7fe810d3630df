package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/pipelines/broker/frames"
)

// Config is the section broker of the config: the embedded broker, which runs if no brokers are named.
type Config struct {
	// Port is where it listens, on 127.0.0.1; 0 takes a free one at the first start
	// and keeps it, so that other programs find it again.
	Port int `yaml:"port"`
	// Fsync makes every write reach the disk before it is acknowledged. Without it, which is also
	// Kafka's default, a crash of weir loses nothing, but a loss of power loses the last seconds. With
	// it, a write takes 0.4 ms instead of 0.04 on a good disk, and writes wait for one another: a slow
	// disk holds up everything.
	Fsync bool `yaml:"fsync"`
}

// Validate reports a port outside 0 to 65535.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.Port < 0 || c.Port > 65535 {
		d.Fail(at+".port", c.Port, "must be 1 to 65535, or 0 for any free port")
	}
}

// Broker is one kfake node that keeps its log in a folder.
type Broker struct {
	cluster *kfake.Cluster
	lock    *os.File
}

const (
	// cleanEvery bounds what recovery reads of a compacted topic. One round reads
	// the topic whole, in the broker's only event loop: 0.2 to 0.3 s for 300 MB.
	cleanEvery = "300000" // ms
	portFile   = "port"
	lockFile   = "lock"
)

// Start opens the log in dir, which it makes, for its owner only. It returns an error if another
// process has it open, or if the port that the config names is taken; if the port of the last run is
// taken, it chooses another. What clients send is checked before the broker sees it (package frames,
// which registers its metrics with reg).
func Start(dir string, c Config, reg prometheus.Registerer, log *slog.Logger) (*Broker, error) {
	if err := conf.OwnFolder(dir); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	b := &Broker{lock: lock}
	gate := frames.New(frames.Default(), reg, log.With("part", "broker"))
	port := c.Port
	if port == 0 {
		port = recordedPort(dir)
	}
	if b.cluster, err = newCluster(dir, port, c.Fsync, gate, log); errors.Is(err, syscall.EADDRINUSE) && c.Port == 0 {
		log.Warn("the broker's port is taken, choosing another", "port", port)
		b.cluster, err = newCluster(dir, 0, c.Fsync, gate, log)
	}
	if err == nil {
		err = recordPort(dir, b.cluster.ListenAddrs()[0])
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

func newCluster(dir string, port int, fsync bool, gate *frames.Gate, log *slog.Logger) (*kfake.Cluster, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(port),
		kfake.ClusterID("weir"),
		kfake.ListenFn(gate.Listen),
		kfake.MaxVersions(frames.Versions()),
		kfake.DataDir(filepath.Join(dir, "log")),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": cleanEvery}),
		kfake.WithLogger(brokerLog{log.With("part", "broker")}),
	}
	if fsync {
		opts = append(opts, kfake.SyncWrites())
	}
	return kfake.NewCluster(opts...)
}

// Addrs are the broker's addresses.
func (b *Broker) Addrs() []string { return b.cluster.ListenAddrs() }

// Close saves the broker's state and lets go of the folder.
func (b *Broker) Close() {
	if b.cluster != nil {
		b.cluster.Close()
	}
	_ = b.lock.Close() // this unlocks it; nothing was written to it
}

// lockDir keeps two processes from writing the same log.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("broker: %s is in use by another process: %w", dir, err)
	}
	return f, nil
}

// recordedPort is the port of the last run, or 0.
func recordedPort(dir string) int {
	b, err := conf.ReadSmall(filepath.Join(dir, portFile))
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || port < 0 || port > 65535 {
		return 0
	}
	return port
}

func recordPort(dir, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, portFile), []byte(port+"\n"), 0o600)
}

// brokerLog is kfake's Logger on slog.
type brokerLog struct{ log *slog.Logger }

// Logf passes on errors and warnings; the rest would be a line for each connection.
func (l brokerLog) Logf(level kfake.LogLevel, msg string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error(fmt.Sprintf(msg, args...))
	case kfake.LogLevelWarn:
		l.log.Warn(fmt.Sprintf(msg, args...))
	}
}
