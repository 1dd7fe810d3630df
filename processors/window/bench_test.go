package window

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// load is a workload of BenchmarkWindowProcessor.
type load struct {
	series, perGroup, batch, rounds int
	stepMS                          int64
}

func (l load) String() string {
	return fmt.Sprint(l.series, " ", l.perGroup, " ", l.batch, " ", l.rounds, " ", l.stepMS)
}

// TestMain also runs the benchmark's broker: kfake, with the workload already in samples. It is a process of its own, so
// that its CPU time is not counted.
func TestMain(m *testing.M) {
	spec := os.Getenv("WEIR_BENCH_BROKER")
	if spec == "" {
		os.Exit(m.Run())
	}
	var l load
	if _, err := fmt.Sscan(spec, &l.series, &l.perGroup, &l.batch, &l.rounds, &l.stepMS); err != nil {
		fmt.Println("bad workload:", err)
		os.Exit(1)
	}
	if err := serve(l); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serve runs the broker until standard input ends.
func serve(l load) error {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	cfg := topics.Default()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := topics.Ensure(ctx, kadm.NewClient(client), topics.All(cfg)); err != nil {
		return err
	}
	groups := l.series / l.perGroup
	start := time.Now().Truncate(time.Hour).UnixMilli() - int64(l.rounds)*l.stepMS
	var failed error
	for r := range l.rounds {
		for g := range groups {
			host := fmt.Sprintf("web-%05d", g)
			var b schemas.BatchBuilder
			send := func() {
				value := b.AppendTo(nil)
				if r > 0 && l.batch > 1 { // as route does with series that it has sent before
					value = b.AppendShapedTo(nil, schemas.ShapeOf(b.IDs()))
				}
				client.Produce(ctx, &kgo.Record{Topic: topics.Samples, Key: []byte(host), Value: value, Partition: schemas.Shard([]byte(host), cfg.Shards),
					Timestamp: time.UnixMilli(start + int64(r)*l.stepMS)}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed = err
					}
				})
			}
			for i := range l.perGroup {
				if b.Len() == 0 {
					b.Begin(schemas.Origin{Epoch: 1, Offset: int64(r*l.perGroup + i)}, 0)
				}
				s := schemas.Series{Metric: "system.metric_" + strconv.Itoa(i), Labels: schemas.Labels{
					{Name: "env", Value: "prod"}, {Name: "host", Value: host}, {Name: "region", Value: "eu-west-1"}, {Name: "service", Value: "shop"}}}
				b.Add(&s, s.Hash(), start+int64(r)*l.stepMS, float64((i*7919+r*104729)%100_000)*1.1)
				if b.Len() == l.batch {
					send()
					b = schemas.BatchBuilder{}
				}
			}
			if b.Len() > 0 {
				send()
			}
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	fmt.Println("serving", c.ListenAddrs()[0])
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the benchmark closes it
	return nil
}

func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkWindowProcessor measures the processor from fetched records to emitted windows and flushed state: CPU time of
// this process from its start to the end of the last checkpoint; the broker is another process. There is a checkpoint
// every 10 s of wall time, and one at the end.
func BenchmarkWindowProcessor(b *testing.B) {
	for _, bc := range []struct {
		name string
		load load
	}{
		{"batch=64/dense", load{series: 10_048, perGroup: 64, batch: 64, rounds: 1000, stepMS: 1000}},
		{"batch=64/sparse", load{series: 10_048, perGroup: 64, batch: 64, rounds: 500, stepMS: 10_000}},
		{"batch=1/dense", load{series: 10_048, perGroup: 64, batch: 1, rounds: 80, stepMS: 1000}},
		{"batch=1/sparse", load{series: 10_048, perGroup: 64, batch: 1, rounds: 60, stepMS: 10_000}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			total := int64(bc.load.series) * int64(bc.load.rounds)
			var perCPU, allocs float64
			for b.Loop() {
				b.StopTimer()
				s, stop := benchStage(b, bc.load)
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := cpu()
				b.StartTimer()
				end := s.start(b.TempDir(), nil)
				kafkatest.Eventually(s.t, "every sample is counted", func() bool { return s.counted() >= total })
				end(nil)
				used := cpu() - began
				runtime.ReadMemStats(&after)
				perCPU = float64(total) / used
				allocs = float64(after.Mallocs-before.Mallocs) / float64(total)
				stop()
			}
			b.ReportMetric(perCPU, "samples/cpu-s")
			b.ReportMetric(allocs, "allocs/sample")
		})
	}
}

// benchStage starts the broker's process and waits until it has its load.
func benchStage(b *testing.B, l load) (*stage, func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_BENCH_BROKER="+l.String())
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "serving ")
	if err != nil || !ok {
		b.Fatalf("broker: %q, %v", line, err)
	}
	s := newStageOn(b, []string{addr}, topics.Default(), "groups: []")
	s.flush = 10 * time.Second
	return s, func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("broker: %v", err)
		}
	}
}
