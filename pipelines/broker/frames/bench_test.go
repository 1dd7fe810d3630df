package frames

import (
	"log/slog"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// BenchmarkProduce writes records of 200 bytes through the embedded broker, and without a gate.
func BenchmarkProduce(b *testing.B) {
	for name, listen := range map[string]func(network, address string) (net.Listener, error){
		"open": net.Listen, "gate": New(Default(), discard{}, slog.New(slog.DiscardHandler)).Listen,
	} {
		b.Run(name, func(b *testing.B) {
			c := kafkatest.Cluster(b, kfake.ListenFn(listen), kfake.DataDir(b.TempDir()), kfake.SeedTopics(8, "t"), kfake.MaxVersions(Versions()))
			cl := kafkatest.Client(b, c.ListenAddrs(), kgo.DefaultProduceTopic("t"))
			value := make([]byte, 200)
			for i := range value {
				value[i] = byte(i * i >> 3)
			}
			b.SetBytes(200)
			for b.Loop() {
				cl.Produce(b.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
