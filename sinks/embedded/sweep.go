package embedded

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

func (s *Store) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(); err != nil {
			s.log.Error("sweep of expired rows failed", "err", err)
		}
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

// Sweep deletes what has expired: in each tier the buckets all of whose windows have expired, and
// the series that have no window left. The store sweeps every ten minutes by itself. Windows of a
// tier that is no longer configured are left alone.
func (s *Store) Sweep() error {
	if err := s.enter(); err != nil {
		return nil // closed: nothing to sweep
	}
	defer s.leave()
	nowMS := s.now().UnixMilli()
	for _, t := range s.tiers {
		if err := s.sweepTier(t, nowMS); err != nil {
			return fmt.Errorf("tier %s: %w", t.Table(), err)
		}
	}
	return s.sweepSeries(nowMS)
}

func (s *Store) sweepTier(t cql.Tier, nowMS int64) error {
	begin, live := appendTier(nil, t), appendBucket(nil, t, t.Bucket(t.OldestMS(nowMS)))
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: begin, UpperBound: live})
	if err != nil {
		return err
	}
	buckets := 0
	for ok := it.First(); ok; buckets++ {
		bucket := readInt(it.Key()[len(begin):])
		ok = it.SeekGE(appendBucket(nil, t, int32(bucket)+1))
	}
	if err := it.Close(); err != nil || buckets == 0 {
		return err
	}
	if err := s.db.DeleteRange(begin, live, pebble.Sync); err != nil {
		return err
	}
	s.reclaimed.WithLabelValues("buckets").Add(float64(buckets))
	s.log.Info("expired windows deleted", "table", t.Table(), "buckets", buckets)
	return nil
}

// sweepSeries finds the expired series without the lock, which writers need, and deletes them with
// the lock if they are still expired.
func (s *Store) sweepSeries(nowMS int64) error {
	prefix := []byte{seriesKey}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	var dead []sinks.SeriesInfo
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			it.Close()
			return err
		}
		info, err := decodeSeries(value)
		if err != nil {
			it.Close()
			return err
		}
		if !s.alive(&info, nowMS) {
			dead = append(dead, info)
		}
	}
	if err := it.Close(); err != nil || len(dead) == 0 {
		return err
	}
	s.seriesMu.Lock()
	defer s.seriesMu.Unlock()
	batch := s.db.NewBatch()
	defer batch.Close()
	deleted := 0
	for _, d := range dead {
		key := appendSeriesKey(nil, d.Series.String())
		info, found, err := s.seriesAt(key)
		if err != nil {
			return err
		}
		if !found || s.alive(&info, nowMS) {
			continue
		}
		if err := batch.Delete(key, nil); err != nil {
			return err
		}
		for _, label := range labelKeys(d.Series) {
			if err := batch.Delete(label, nil); err != nil {
				return err
			}
		}
		deleted++
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	s.reclaimed.WithLabelValues("series").Add(float64(deleted))
	return nil
}
