package schemas

import "testing"

// TestMurmur2 uses the vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := Murmur2([]byte(key)); got != uint32(want)&0x7fffffff {
			t.Errorf("Murmur2(%q) = %d, want %d", key, got, uint32(want)&0x7fffffff)
		}
	}
}

func TestShardIsInRange(t *testing.T) {
	for _, shards := range []int32{1, 2, 7, 96, 10_000} {
		seen := map[int32]bool{}
		for i := range 1000 {
			s := Shard([]byte("host-"+itoa(int64(i))), shards)
			if s < 0 || s >= shards {
				t.Fatalf("shard %d of %d", s, shards)
			}
			seen[s] = true
		}
		if len(seen) < min(int(shards), 1000)*6/10 {
			t.Errorf("1000 keys meet only %d of %d shards", len(seen), shards)
		}
	}
}
