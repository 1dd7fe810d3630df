package route

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/topics"
)

// benchFormat in the environment makes the test binary a broker whose topic metrics holds benchBacklog records of that
// format. It prints its address and runs until its standard input ends.
const (
	benchFormat  = "WEIR_ROUTE_BENCH_FORMAT"
	benchBacklog = 8000
)

func benchBroker(format string) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topics.Metrics), kfake.SeedTopics(testShards, topics.Samples), kfake.SeedTopics(1, topics.DeadLetter))
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	polls := benchPolls(format)
	for i := range benchBacklog / benchPoll {
		if err := cl.ProduceSync(context.Background(), polls[i%len(polls)]...).FirstErr(); err != nil {
			return err
		}
	}
	fmt.Println(strings.Join(cluster.ListenAddrs(), ","))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// BenchmarkRouteBroker measures Run from its start to the last of 512,000 samples that wait on a broker in another process:
// CPU time of this process alone, with the client.
func BenchmarkRouteBroker(b *testing.B) {
	for _, format := range []string{"json", "line"} {
		b.Run("format="+format, func(b *testing.B) {
			child := exec.CommandContext(b.Context(), os.Args[0])
			child.Env = append(os.Environ(), benchFormat+"="+format)
			child.Stderr = os.Stderr
			stdin, err := child.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			stdout, err := child.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := child.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() {
				_ = stdin.Close()
				_ = child.Wait()
			}()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			seeds := strings.Split(strings.TrimSpace(line), ",")
			admin, err := kadm.NewOptClient(kgo.SeedBrokers(seeds...))
			if err != nil {
				b.Fatal(err)
			}
			defer admin.Close()
			cpu, n := processCPU(b), 0
			for b.Loop() {
				r := New(Default(), Deps{Brokers: seeds, Shards: testShards, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				tick := time.NewTicker(5 * time.Millisecond)
				for counted(b, r.count.samples) < benchBacklog*benchSeries && ctx.Err() == nil {
					<-tick.C
				}
				tick.Stop()
				if err := ctx.Err(); err != nil {
					b.Fatal(err)
				}
				cancel()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				if _, err := admin.DeleteGroup(b.Context(), ConsumerGroup); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n*benchBacklog*benchSeries)/(processCPU(b)-cpu).Seconds(), "samples/cpu-s")
		})
	}
}
