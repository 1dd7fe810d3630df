package sinks

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
)

// MaxAheadMS is how far ahead of the store's clock a window may start, ms: a day,
// far beyond any sane max_future. Readers need not look further.
const MaxAheadMS = 24 * 3600 * 1000

// MaxKeyBytes bounds the source and the text of a series, in bytes. CQL takes
// 65,535 for a whole key.
const MaxKeyBytes = 60_000

// Intake is what every tier store first does with a batch: it separates the windows to be written
// from those that are expired or refused, counts them, and finds the series that the index must be
// told about. It is safe for concurrent use.
type Intake struct {
	tiers   map[int64]cql.Tier
	indexed *indexed
	windows *prometheus.CounterVec
}

// Row is a window to be written.
type Row struct {
	*schemas.Window
	Tier cql.Tier
	Text string // the text of the labels: the column series
}

// NewIntake makes the intake of a store with these tiers. Each series is due for the index once in
// every renew, at a moment that depends on its source. NewIntake registers the counter
// weir_tierstore_windows_total{result}, and returns an error if a tier is not fit for a table or
// the counter is already registered.
func NewIntake(tiers []cql.Tier, renew time.Duration, reg prometheus.Registerer) (*Intake, error) {
	if err := cql.CheckTiers(tiers); err != nil {
		return nil, err
	}
	in := &Intake{tiers: map[int64]cql.Tier{}, indexed: newIndexed(renew)}
	for _, t := range tiers {
		in.tiers[t.SizeMS] = t
	}
	in.windows = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_tierstore_windows_total",
		Help: "Windows that reached the tier store, by result: written, expired (their time to live had passed), refused.",
	}, []string{"result"})
	for _, result := range []string{"written", "expired", "refused"} {
		in.windows.WithLabelValues(result)
	}
	if err := reg.Register(in.windows); err != nil {
		return nil, fmt.Errorf("tier store: %w", err)
	}
	return in, nil
}

// Tier returns the tier of that size, or ErrNoTier, wrapped.
func (in *Intake) Tier(sizeMS int64) (cql.Tier, error) {
	t, ok := in.tiers[sizeMS]
	if !ok {
		return t, fmt.Errorf("tier %s: %w", schemas.TierName(sizeMS), ErrNoTier)
	}
	return t, nil
}

// Sort returns the rows to write, and the series to index with their first start and last end in
// this batch. The error is nil or wraps ErrRefused, and does not concern the rows returned. Call
// Written when everything is durable.
func (in *Intake) Sort(b *schemas.WindowBatch, nowMS int64) (rows []Row, fresh []SeriesInfo, err error) {
	if len(b.Windows) == 0 {
		return nil, nil, nil
	}
	if err := checkSource(b.Group); err != nil {
		in.windows.WithLabelValues("refused").Add(float64(len(b.Windows)))
		return nil, nil, fmt.Errorf("%d windows: %w: %w", len(b.Windows), ErrRefused, err)
	}
	var refused []error
	var expired int
	source := sourceKey(b.Group)
	at := map[schemas.ID]int{} // the place of a series in fresh, by its key
	rows = make([]Row, 0, len(b.Windows))
	for i := range b.Windows {
		w := &b.Windows[i]
		row, key, err := in.check(source, w, nowMS)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		if row.Tier.ExpiresMS(w.StartMS) <= nowMS {
			expired++
			continue
		}
		rows = append(rows, row)
		if j, ok := at[key]; ok {
			fresh[j].FirstMS, fresh[j].LastMS = min(fresh[j].FirstMS, w.StartMS), max(fresh[j].LastMS, w.EndMS())
		} else if in.indexed.isDue(key, nowMS) {
			at[key] = len(fresh)
			fresh = append(fresh, SeriesInfo{Series: w.Series, Source: b.Group, FirstMS: w.StartMS, LastMS: w.EndMS()})
		}
	}
	in.windows.WithLabelValues("expired").Add(float64(expired))
	in.windows.WithLabelValues("refused").Add(float64(len(refused)))
	return rows, fresh, refusal(b.Group, refused)
}

// refusal returns nil, or the first of the errors and how many more there are: a record of
// thousands of bad windows must not make an error of megabytes.
func refusal(source string, refused []error) error {
	switch len(refused) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("window of %.100q: %w: %w", source, ErrRefused, refused[0])
	}
	return fmt.Errorf("%d windows of %.100q: %w: %w, and more", len(refused), source, ErrRefused, refused[0])
}

// check returns the row of w, and the key of its series in the index.
func (in *Intake) check(source schemas.ID, w *schemas.Window, nowMS int64) (Row, schemas.ID, error) {
	var none schemas.ID
	row := Row{Window: w}
	var err error
	if row.Tier, err = in.Tier(w.TierMS); err != nil {
		return row, none, err
	}
	if ahead := w.StartMS - nowMS; ahead > MaxAheadMS {
		return row, none, fmt.Errorf("%.200q: start %d ms: %d ms ahead, at most %d", w.Series.String(), w.StartMS, ahead, MaxAheadMS)
	}
	key := seriesKey(source, w.Series)
	row.Text = cql.LabelsText(w.Series)
	if in.indexed.isDue(key, nowMS) { // otherwise it was valid when it was indexed
		if err := w.Series.Validate(); err != nil {
			return row, none, err
		}
		if n := len(w.Series.String()); n > MaxKeyBytes {
			return row, none, fmt.Errorf("series of %d bytes, at most %d: %.200q", n, MaxKeyBytes, w.Series.Metric)
		}
	}
	return row, key, nil
}

func checkSource(source string) error {
	if source == "" {
		return errors.New("no source: the record has no key")
	}
	if len(source) > MaxKeyBytes {
		return fmt.Errorf("source of %d bytes, at most %d: %.100q", len(source), MaxKeyBytes, source)
	}
	if !utf8.ValidString(source) {
		return fmt.Errorf("source %.100q: %w", source, schemas.ErrInvalidUTF8)
	}
	return nil
}

// Written counts rows that are durable, and records that the index knows the series.
func (in *Intake) Written(rows int, fresh []SeriesInfo, nowMS int64) {
	in.windows.WithLabelValues("written").Add(float64(rows))
	for _, s := range fresh {
		in.indexed.add(s.Source, seriesKey(sourceKey(s.Source), s.Series), nowMS)
	}
}

// Refused counts rows that the database refused.
func (in *Intake) Refused(rows int) { in.windows.WithLabelValues("refused").Add(float64(rows)) }

// Expired counts rows whose time to live ended while they waited to be written.
func (in *Intake) Expired(rows int) { in.windows.WithLabelValues("expired").Add(float64(rows)) }
