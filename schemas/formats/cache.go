package formats

// cacheBytes bounds the keys of one cache, in bytes. Values cost about twice as
// much again, so a Decoder with all its caches full holds some 100 MB; it takes
// about 100,000 hosts' label sets to get there.
const cacheBytes = 16 << 20

// cache maps bytes as they are written to what they mean. When it is full, a
// random entry goes for each that comes: with more keys in turn than it can hold, a
// share still hits, where dropping the oldest would always miss.
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
