package collect

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKafkaIsFoundAgainSoon: however long Kafka was down, a publisher retries so often that, once Kafka is back, a caller gets an
// answer within a second or so.
func TestKafkaIsFoundAgainSoon(t *testing.T) {
	p, err := NewPublisher(Default(), kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	pause := p.client.OptValue(kgo.RetryBackoffFn).(func(int) time.Duration)
	for _, failures := range []int{0, 1, 2, 3, 10, 1000, 1 << 40} {
		for range 100 {
			if d := pause(failures); d <= 0 || d > 2*backSoon {
				t.Fatalf("after %d failures it pauses for %v", failures, d)
			}
		}
	}
	if age := p.client.OptValue(kgo.MetadataMinAge).(time.Duration); 2*backSoon+age > time.Second {
		t.Errorf("the cluster's metadata is fetched again after %v", age)
	}
}
