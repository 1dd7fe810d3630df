package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

func appendSeriesKey(dst []byte, name string) []byte {
	return appendText(append(dst, seriesKey), name)
}

// appendLabel appends the common beginning of the keys of all series that have the label.
func appendLabel(dst []byte, l schemas.Label) []byte {
	return appendText(appendText(append(dst, labelKey), l.Name), l.Value)
}

// labelKeys are the keys under which a series is found.
func labelKeys(s schemas.Series) [][]byte {
	name := s.String()
	keys := [][]byte{appendText(appendLabel(nil, schemas.Label{Name: cql.MetricLabel, Value: s.Metric}), name)}
	for _, l := range s.Labels {
		keys = append(keys, appendText(appendLabel(nil, l), name))
	}
	return keys
}

const seriesVersion = 1

// appendSeries encodes what the index knows about a series.
func appendSeries(dst []byte, s *sinks.SeriesInfo) []byte {
	dst = binary.AppendVarint(append(dst, seriesVersion), s.FirstMS)
	dst = binary.AppendVarint(dst, s.LastMS)
	dst = binary.AppendUvarint(dst, uint64(len(s.Series.Labels)))
	put := func(text string) { dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...) }
	put(s.Source)
	put(s.Series.Metric)
	for _, l := range s.Series.Labels {
		put(l.Name)
		put(l.Value)
	}
	return dst
}

// decodeSeries reads what appendSeries wrote. Its error wraps schemas.ErrVersion or
// schemas.ErrCorrupt.
func decodeSeries(b []byte) (sinks.SeriesInfo, error) {
	var s sinks.SeriesInfo
	if len(b) == 0 || b[0] != seriesVersion {
		return s, fmt.Errorf("series row %x: %w", b[:min(len(b), 1)], schemas.ErrVersion)
	}
	r := bytes.NewReader(b[1:])
	var bad bool
	number := func() int64 {
		n, err := binary.ReadVarint(r)
		bad = bad || err != nil
		return n
	}
	length := func() uint64 {
		n, err := binary.ReadUvarint(r)
		bad = bad || err != nil || n > uint64(r.Len())
		return n
	}
	text := func() string {
		n := length()
		if bad {
			return ""
		}
		at := len(b) - r.Len()
		r.Seek(int64(n), io.SeekCurrent)
		return string(b[at : at+int(n)])
	}
	s.FirstMS, s.LastMS = number(), number()
	labels := length()
	s.Source, s.Series.Metric = text(), text()
	for ; labels > 0 && !bad; labels-- {
		s.Series.Labels = append(s.Series.Labels, schemas.Label{Name: text(), Value: text()})
	}
	if bad || r.Len() > 0 {
		return s, fmt.Errorf("series row of %d bytes: %w", len(b), schemas.ErrCorrupt)
	}
	return s, nil
}

// index writes the rows of fresh series, with the earliest start and the latest end known. It does
// not sync: the windows' batch, committed next to the same log, syncs both, outside the lock.
func (s *Store) index(fresh []sinks.SeriesInfo, nowMS int64) error {
	if len(fresh) == 0 {
		return nil
	}
	s.seriesMu.Lock()
	defer s.seriesMu.Unlock()
	series := s.db.NewBatch()
	defer series.Close()
	var key []byte
	for i := range fresh {
		info := fresh[i]
		key = appendSeriesKey(key[:0], info.Series.String())
		known, found, err := s.seriesAt(key)
		if err != nil {
			return err
		}
		if found && s.alive(&known, nowMS) {
			info.FirstMS, info.LastMS = min(info.FirstMS, known.FirstMS), max(info.LastMS, known.LastMS)
		}
		if err := series.Set(key, appendSeries(nil, &info), nil); err != nil {
			return fmt.Errorf("embedded store: series %.200q: %w", info.Series.String(), err)
		}
		for _, label := range labelKeys(info.Series) {
			if err := series.Set(label, nil, nil); err != nil {
				return fmt.Errorf("embedded store: series %.200q: %w", info.Series.String(), err)
			}
		}
	}
	if err := series.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("embedded store: %d series: %w", len(fresh), err)
	}
	return nil
}

// alive reports whether some window of the series may still be kept at nowMS.
func (s *Store) alive(info *sinks.SeriesInfo, nowMS int64) bool {
	return info.LastMS+s.seriesTTL > nowMS
}

// seriesAt reads the row of a series, if there is one.
func (s *Store) seriesAt(key []byte) (info sinks.SeriesInfo, found bool, err error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return info, false, nil
	}
	if err != nil {
		return info, false, fmt.Errorf("embedded store: series: %w", err)
	}
	defer closer.Close()
	info, err = decodeSeries(value)
	return info, err == nil, err
}

// ListSeries implements sinks.TierStore. Given a metric, it reads that metric's series; otherwise,
// given labels, those of one of the labels; otherwise all.
func (s *Store) ListSeries(ctx context.Context, metric string, match map[string]string, afterName string, limit int) ([]sinks.SeriesInfo, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	prefix := []byte{seriesKey}
	if label, ok := sinks.IndexLabel(match); metric != "" {
		prefix = appendLabel(nil, schemas.Label{Name: cql.MetricLabel, Value: metric})
	} else if ok {
		prefix = appendLabel(nil, label)
	}
	lower, upper := prefix, after(prefix)
	if afterName != "" {
		lower = after(appendText(bytes.Clone(prefix), afterName))
	}
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("list series: %w", err)
	}
	defer it.Close()
	nowMS := s.now().UnixMilli()
	var out []sinks.SeriesInfo
	for ok, n := it.First(), 0; ok && len(out) < limit; ok, n = it.Next(), n+1 {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("list series: %w", ctx.Err())
		}
		info, found, err := s.seriesAt(append([]byte{seriesKey}, it.Key()[len(prefix):]...))
		if err != nil {
			return nil, fmt.Errorf("list series: %w", err)
		}
		if found && s.alive(&info, nowMS) && (metric == "" || info.Series.Metric == metric) && sinks.Matches(info.Series, match) {
			out = append(out, info)
		}
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("list series: %w", err)
	}
	return out, nil
}
