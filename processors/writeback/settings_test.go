package writeback

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// dialect is counting in which values have a different form for each setting.
type dialect struct {
	counting
	setting byte
}

func newDialect(setting byte) *dialect {
	return &dialect{counting: counting{stalls: map[int32]time.Duration{}}, setting: setting}
}

func (d *dialect) Append(p *Partition[counter, none], dst []byte, v *counter) []byte {
	return append(d.counting.Append(p, dst, v), d.setting)
}

func (d *dialect) Decode(p *Partition[counter, none], key string, b []byte) (*counter, error) {
	if n := len(b) - 1; n == 24 && b[n] != d.setting {
		return nil, fmt.Errorf("%w: %c", ErrSettings, b[n])
	}
	return d.counting.Decode(p, key, b[:max(0, len(b)-1)])
}

// TestOtherSettings: Run fails as long as there are values of other settings, however many values do not decode at all. When the
// settings are restored, only the latter are lost.
func TestOtherSettings(t *testing.T) {
	for _, rubbish := range []int{0, 1, 19} {
		t.Run(fmt.Sprint(rubbish), func(t *testing.T) {
			b := sizedBed(t, maxValueBytes+1<<20)
			number := func() (sent int64) {
				for i := range 20 {
					sent = b.number("small-in", "k"+strconv.Itoa(i), 3)
				}
				return sent
			}
			dir := t.TempDir()
			run := func(l Logic[counter, none]) {
				m := b.startSmall(dir, l)
				sent := number()
				kafkatest.Eventually(b.t, "committed", func() bool { return b.committed("small") >= sent })
				b.end(m, false)
			}
			run(newDialect('a'))
			for i := range rubbish {
				key := "k" + strconv.Itoa(i)
				var raw []byte
				b.each("small-table", func(r *kgo.Record) {
					if of, _ := splitTableKey(string(r.Key)); of == key && r.Value != nil {
						raw = r.Key
					}
				})
				value := b.stored("small-table")[key]
				r := &kgo.Record{Topic: "small-table", Key: raw, Value: value[:len(value)-3]}
				if err := b.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			letters := func() (n int) {
				b.each(topics.DeadLetter, func(*kgo.Record) { n++ })
				return n
			}
			for range 2 {
				m := b.startSmall(dir, newDialect('b'))
				select {
				case err := <-m.done:
					if !errors.Is(err, ErrSettings) {
						t.Fatalf("with other settings, Run ended with %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("with other settings, Run continues")
				}
				if n := counted(m.eng, "weir_writeback_lost_values_total"); n > float64(rubbish) {
					t.Errorf("%v values lost, of which %d do not decode", n, rubbish)
				}
				if err := m.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if n := letters(); n > 2*rubbish {
				t.Errorf("%d letters for %d values that do not decode", n, rubbish)
			}
			run(newDialect('a'))
			stored := b.stored("small-table")
			for i := range 20 {
				want := uint64(2)
				if i < rubbish {
					want = 1
				}
				if _, v := decodeCounter(t, stored["k"+strconv.Itoa(i)]); v.n != want {
					t.Errorf("k%d has %d records, want %d", i, v.n, want)
				}
			}
		})
	}
}
