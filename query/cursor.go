package query

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/schemas"
)

const (
	cursorVersion  = 1
	maxCursorBytes = 192 << 10 // encoded: a series of thirty labels of the longest kind fits
)

var errCursor = errors.New("must be the nextCursor of the previous page, unchanged")

// cursor is where the next page of GET /metrics/{id} begins. It holds the tier and the range as the
// first page resolved them, so that "now" does not move between pages, and the hash of the query to
// which it belongs.
type cursor struct {
	Query        uint64 // hash of the request's other parameters
	TierMS       int64
	FromMS, ToMS int64
	StartMS      int64 // first window of Series that has not been delivered
	Source       string
	Series       schemas.Series
}

// encode writes the cursor as URL-safe text. The checksum guards against damage, not against
// forgery: decodeCursor's caller checks every field as it would check a parameter.
func (c *cursor) encode() string {
	b := []byte{cursorVersion}
	b = binary.LittleEndian.AppendUint64(b, c.Query)
	for _, ms := range []int64{c.TierMS, c.FromMS, c.ToMS, c.StartMS} {
		b = binary.AppendUvarint(b, uint64(ms))
	}
	for _, s := range []string{c.Source, c.Series.String()} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor reads what encode wrote. It returns errCursor, wrapped.
func decodeCursor(text string) (*cursor, error) {
	if len(text) > maxCursorBytes {
		return nil, fmt.Errorf("%w (%d bytes)", errCursor, len(text))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 1+8+8 || b[0] != cursorVersion {
		return nil, errCursor
	}
	body, sum := b[:len(b)-8], binary.LittleEndian.Uint64(b[len(b)-8:])
	if xxhash.Sum64(body) != sum {
		return nil, errCursor
	}
	c := &cursor{Query: binary.LittleEndian.Uint64(body[1:])}
	body = body[9:]
	for _, ms := range []*int64{&c.TierMS, &c.FromMS, &c.ToMS, &c.StartMS} {
		u, n := binary.Uvarint(body)
		if n <= 0 || u > maxTimeMS {
			return nil, errCursor
		}
		*ms, body = int64(u), body[n:]
	}
	var series string
	for _, s := range []*string{&c.Source, &series} {
		length, n := binary.Uvarint(body)
		if n <= 0 || length > uint64(len(body)-n) {
			return nil, errCursor
		}
		*s, body = string(body[n:n+int(length)]), body[n+int(length):]
	}
	if len(body) != 0 {
		return nil, errCursor
	}
	if c.Series, err = schemas.ParseSeries(series); err != nil {
		return nil, fmt.Errorf("%w: %v", errCursor, err)
	}
	return c, nil
}
