//go:build engines

package enginetest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEnginesKafkaKeepsItsData: a record that the broker has acknowledged survives kill -9.
func TestEnginesKafkaKeepsItsData(t *testing.T) {
	Reset(t, "weir")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(Kafka(t).Addr), kgo.ConsumeTopics("kept"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "kept", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	Kafka(t).Kill(t)
	if err := cl.Ping(ctx); err == nil {
		t.Error("a killed Kafka answers")
	}
	Kafka(t).Start(t)
	for {
		records := cl.PollFetches(ctx).Records()
		if ctx.Err() != nil {
			t.Fatal("the record is gone")
		}
		if len(records) == 0 {
			continue // an error from while the broker was down
		}
		if got := string(records[0].Value); got != "v" {
			t.Errorf("got %q", got)
		}
		return
	}
}

// TestEnginesCassandraKeepsItsData: a row that the store has acknowledged survives kill -9, and text
// that cqlsh prints is read as it was written.
func TestEnginesCassandraKeepsItsData(t *testing.T) {
	Reset(t, "kept")
	CQL(t, `CREATE KEYSPACE kept WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1};
		CREATE TABLE kept.rows (a text PRIMARY KEY, b double, c timestamp);
		INSERT INTO kept.rows (a, b, c) VALUES ('{x="a\\\"é"}', 0.1, 1795257869001)`)
	Cassandra(t).Kill(t)
	Cassandra(t).Start(t)
	type row struct {
		A string
		B float64
		C timestamp
	}
	got := Rows[row](t, "SELECT JSON * FROM kept.rows")
	if want := (row{`{x="a\\\"é"}`, 0.1, 1795257869001}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
