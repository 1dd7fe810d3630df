package schemas

// Murmur2 is Kafka's hash of a record key, with the sign bit cleared as Kafka's
// default partitioner does (org.apache.kafka.common.utils.Utils.murmur2). weir
// uses it everywhere a key meets a partition: producers, Goka's hasher, tests.
func Murmur2(key []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h & 0x7fffffff
}

// Shard is the partition of key among shards partitions (shards > 0). It depends
// on the number on record and never on the live count (docs/scaling.md).
func Shard(key []byte, shards int32) int32 { return int32(Murmur2(key) % uint32(shards)) }
