package formats

// cacheBytes bounds the keys of one cache, in bytes. Values cost about twice as
// much again, so a Decoder with all its caches full holds some 100 MB; that takes
// about 100,000 hosts' label sets.
const cacheBytes = 16 << 20

// cache maps bytes, as written, to their meaning. When it is full, each new entry replaces a random
// one: if more keys than it can hold come in turn, a share still hits, whereas dropping the oldest
// would always miss.
type cache[V any] struct {
	m     map[string]V
	bytes int
}

func (c *cache[V]) get(key []byte) (V, bool) {
	v, ok := c.m[string(key)]
	return v, ok
}

func (c *cache[V]) put(key []byte, v V) {
	if c.m == nil {
		c.m = make(map[string]V)
	}
	if len(key) > cacheBytes/16 {
		return
	}
	for k := range c.m {
		if c.bytes+len(key) <= cacheBytes {
			break
		}
		delete(c.m, k)
		c.bytes -= len(k)
	}
	c.bytes += len(key)
	c.m[string(key)] = v
}
