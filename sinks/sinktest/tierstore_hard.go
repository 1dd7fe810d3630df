package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// concurrent makes writers of one source replay each other's rows while others read.
func concurrent(k *kit) {
	const series, windows, writers = 4, 30, 4
	start := k.past(s10, time.Hour)
	want := map[string][]schemas.Window{}
	var batches [][]schemas.Window
	for i := range series {
		s := k.series("m", "i", fmt.Sprint(i))
		for n := range windows {
			final := k.window(s, s10, start+int64(n)*s10)
			final.Revision = 2
			early := k.window(s, s10, final.StartMS)
			batches = append(batches, []schemas.Window{final}, []schemas.Window{early})
			want[s.String()] = append(want[s.String()], final)
		}
	}
	var wg sync.WaitGroup
	for range writers {
		mine := slices.Clone(batches)
		k.rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		wg.Go(func() {
			for _, b := range mine {
				if err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: k.run, Windows: b}); err != nil {
					k.Error(err)
					return
				}
			}
		})
	}
	for i := range series {
		wg.Go(func() {
			s := k.series("m", "i", fmt.Sprint(i))
			for range 20 {
				ws, err := k.ReadWindows(k.ctx, k.run, s, s10, 0, 1<<60, 1000)
				if err != nil {
					k.Error(err)
					return
				}
				if !slices.IsSortedFunc(ws, func(a, b schemas.Window) int { return int(a.StartMS - b.StartMS) }) {
					k.Errorf("read while written: not in order: %+v", ws)
				}
			}
		})
	}
	wg.Wait()
	for i := range series {
		s := k.series("m", "i", fmt.Sprint(i))
		k.wantWindows(k.readAll(s, s10), want[s.String()]...)
	}
	if names := k.list("m", nil, "", 100); len(names) != series {
		k.Errorf("series: %q, want %d", names, series)
	}
}

func thousand(k *kit) {
	var ws []schemas.Window
	for i := range 500 {
		s := k.series("m", "i", fmt.Sprintf("%03d", i))
		ws = append(ws, k.window(s, s10, k.past(s10, time.Hour)), k.window(s, m1, k.past(m1, time.Hour)))
	}
	written := k.count("written")
	k.write(ws...)
	if n := k.count("written") - written; n != 1000 {
		k.Errorf("%v counted as written, want 1000", n)
	}
	for i := 0; i < len(ws); i += 2 {
		k.wantWindows(k.read(ws[i].Series, s10, ws[i].StartMS, ws[i].EndMS(), 10), ws[i])
		k.wantWindows(k.read(ws[i].Series, m1, ws[i+1].StartMS, ws[i+1].EndMS(), 10), ws[i+1])
	}
	if names := k.list("m", nil, "", 1000); len(names) != 500 {
		k.Errorf("%d series listed, want 500", len(names))
	}
}

func ugly(k *kit) {
	uglies := []string{"a.b-c/d e", `quo"te'd`, "line\nfeed\r\t", "nul\x00l", "nul\x00", "nul", "\x00", "ünïcødé 漢字 🚰", "a{b=\"c\"}", "%s;DROP TABLE x--", "\\", "{", "}", ",",
		strings.Repeat("long", 1000)}
	start := k.past(s10, time.Hour)
	var all []schemas.Window
	for _, name := range uglies {
		all = append(all,
			k.window(k.series(name), s10, start),
			k.window(k.series("m", name, "v"), s10, start),
			k.window(k.series("m", "l", name), s10, start))
	}
	for _, source := range append(uglies, k.run) {
		if err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: source, Windows: all}); err != nil {
			k.Fatalf("source %q: %v", source, err)
		}
	}
	for _, w := range all {
		k.wantWindows(k.readAll(w.Series, s10), w)
		got, err := k.ReadWindows(k.ctx, uglies[2], w.Series, s10, 0, 1<<60, 10)
		if err != nil {
			k.Fatal(err)
		}
		k.wantWindows(got, w)
	}
	for _, name := range uglies {
		k.wantNames(k.list(name, nil, "", 10), k.series(name))
		k.wantNames(k.list("", map[string]string{name: "v"}, "", 10), k.series("m", name, "v"))
		k.wantNames(k.list("m", map[string]string{"l": name}, "", 10), k.series("m", "l", name))
	}
}

// refused writes what can never be kept together with what can: the latter is kept.
func refused(k *kit) {
	good := k.window(k.series("good"), s10, k.past(s10, time.Minute))
	huge := make([]string, 0, 40)
	for i := range 20 {
		huge = append(huge, fmt.Sprintf("label%02d", i), strings.Repeat("v", 4000))
	}
	for name, bad := range map[string]schemas.Window{
		"no such tier":   k.window(k.series("m"), 77_000, k.past(77_000, time.Hour)),
		"far ahead":      k.window(k.series("m"), s10, k.past(s10, -48*time.Hour)),
		"end of time":    k.window(k.series("m"), s10, 1<<61),
		"no metric":      k.window(k.series(""), s10, k.past(s10, time.Minute)),
		"invalid UTF-8":  k.window(k.series("m", "l", "\xff"), s10, k.past(s10, time.Minute)),
		"over-long name": k.window(k.series("m", huge...), s10, k.past(s10, time.Minute)),
	} {
		before := k.count("refused")
		good.StartMS += s10
		good.FirstOff, good.LastOff = 0, 0
		good.Count++
		err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: k.run, Windows: []schemas.Window{bad, good}})
		if !errors.Is(err, sinks.ErrRefused) {
			k.Errorf("%s: error %v, want %v", name, err, sinks.ErrRefused)
		}
		if n := k.count("refused") - before; n != 1 {
			k.Errorf("%s: %v counted as refused, want 1", name, n)
		}
		k.wantWindows(k.read(good.Series, s10, good.StartMS, good.StartMS+1, 10), good)
		if err != nil && len(err.Error()) > 1000 {
			k.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	k.wantNames(k.list("m", nil, "", 10))
	for _, source := range []string{"", "\xff", strings.Repeat("s", 70_000)} {
		err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: source, Windows: []schemas.Window{good}})
		if !errors.Is(err, sinks.ErrRefused) {
			k.Errorf("source %.20q: error %v, want %v", source, err, sinks.ErrRefused)
		}
	}
	if _, err := k.ReadWindows(k.ctx, k.run, good.Series, 77_000, 0, 1<<60, 10); !errors.Is(err, sinks.ErrNoTier) {
		k.Errorf("read of an unknown tier: error %v, want %v", err, sinks.ErrNoTier)
	}
}

func endedContext(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	s := k.series("m")
	err := k.WriteWindows(ctx, &schemas.WindowBatch{Group: k.run, Windows: []schemas.Window{k.window(s, s10, k.past(s10, time.Minute))}})
	if !errors.Is(err, context.Canceled) {
		k.Errorf("error %v, want %v", err, context.Canceled)
	}
	// A scan that nobody waits for ends, whatever it has found.
	k.write(k.window(s, s10, k.past(s10, time.Minute)))
	if ws, err := k.ReadWindows(ctx, k.run, s, s10, 0, 1<<60, 10); !errors.Is(err, context.Canceled) {
		k.Errorf("read: %d windows, error %v, want %v", len(ws), err, context.Canceled)
	}
	for name, match := range map[string]map[string]string{s.Metric: nil, "": nil, "any": {"run": k.run}} {
		if infos, err := k.ListSeries(ctx, strings.TrimPrefix(name, "any"), match, "", 10); !errors.Is(err, context.Canceled) {
			k.Errorf("list of %q: %d series, error %v, want %v", name, len(infos), err, context.Canceled)
		}
	}
}
