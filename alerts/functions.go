package alerts

import (
	"math"
	"strings"
	"time"
)

// function is something that rules may call. The compiler, its messages, docs/rules.md and the
// tests follow the table: to add a function, add an entry there.
type function struct {
	name string
	// args is what goes between the brackets, as the docs write it; a ? marks an optional argument.
	args string
	says string // what it is, in a sentence
	// example is a call, the values of a metric x, one for each window of 10s, the newest last, and
	// the result.
	example example

	// For functions of the windows of a range:
	over  func(r *ring, w reach) float64 // nil: it is not one of these
	reads columns
	least int  // how many windows a range must have for a result
	extra kind // of the argument after the range
	// For functions of numbers:
	one func(x float64) float64
	two func(x, y float64) float64
	// For functions of the time at which a window ends:
	at func(t time.Time) float64

	// within bounds its result; the zero value: anything.
	within span
	// spans bounds the result of a function of numbers if its argument is within a; nil: anything.
	// Monotone functions have mono.
	spans func(a span) span
	mono  bool
}

// kind is what an argument after the range is.
type kind uint8

const (
	noArgument kind = iota
	anOffset        // how much earlier the range ended, such as "1w"; optional
	earlier         // the same, but required
	aHorizon        // how far ahead, such as "4h"
	aPeriod         // the distance of the windows to compare with, such as "1d"; optional
	aQuotient       // two numbers between 0 and 1
)

// example is a function's, for the docs and a test.
type example struct {
	call  string
	x     []float64
	gives float64
}

// reach is the windows that a function is asked about: those of a ring from index from to before
// to. All times are in ms.
type reach struct {
	from, to int
	end      int64 // end of the range
	input    *input
}

// functions is the table.
var functions = []*function{
	fnLast,
	{name: "first", args: "metric, range, offset?", says: "The first value of the range.", over: firstOver, reads: colFirst, extra: anOffset,
		example: example{`first(x, "30s")`, []float64{5, 7, 9}, 5}},
	fnAvg,
	{name: "min", args: "metric, range, offset?", says: "The smallest value.", over: minOver, reads: colMin, extra: anOffset, two: math.Min,
		example: example{`min(x, "30s")`, []float64{5, 3, 9}, 3}},
	{name: "max", args: "metric, range, offset?", says: "The largest value.", over: maxOver, reads: colMax, extra: anOffset, two: math.Max,
		example: example{`max(x, "30s")`, []float64{5, 3, 9}, 9}},
	{name: "sum", args: "metric, range, offset?", says: "The sum of all values.", over: sumOver, reads: colSum, extra: anOffset,
		example: example{`sum(x, "30s")`, []float64{5, 3, 9}, 17}},
	fnCount,
	{name: "range", args: "metric, range, offset?", says: "The largest value minus the smallest.", over: rangeOver, reads: colMin | colMax, extra: anOffset, within: positive,
		example: example{`range(x, "30s")`, []float64{5, 3, 9}, 6}},
	{name: "stddev", args: "metric, range, offset?", says: "The standard deviation of the windows' averages, that is, of the values themselves if each window has one.",
		over: stddevOver, reads: colSum | colCount, extra: anOffset, within: positive,
		example: example{`stddev(x, "40s")`, []float64{2, 4, 4, 6}, math.Sqrt2}},
	fnDelta,
	{name: "increase", args: "metric, range, offset?", says: "How much a counter has grown. Where it falls, it was reset, and its new value counts in full. The growth before a reset is exact, unless the counter falls and overtakes its old value within one window. Nothing is extrapolated before the first sample or after the last.",
		over: increaseOver, reads: counterColumns, extra: anOffset, within: positive,
		example: example{`increase(x, "40s")`, []float64{90, 100, 4, 10}, 20}},
	{name: "rate", args: "metric, range, offset?", says: "increase, divided by the seconds from the first sample's window to the last's.", over: rateOver, reads: counterColumns, least: 2, extra: anOffset, within: positive,
		example: example{`rate(x, "40s")`, []float64{90, 100, 4, 10}, 20.0 / 30}},
	{name: "deriv", args: "metric, range, offset?", says: "The slope of the line through the windows' averages (least squares), per second.", over: derivOver, reads: colSum | colCount, least: 2, extra: anOffset,
		example: example{`deriv(x, "40s")`, []float64{10, 20, 30, 40}, 1}},
	{name: "predict_linear", args: "metric, range, horizon", says: "Where that line is after the horizon, counted from the window's end.", over: predictOver, reads: colSum | colCount, least: 2, extra: aHorizon,
		example: example{`predict_linear(x, "40s", "1m")`, []float64{10, 20, 30, 40}, 105}},
	{name: "change", args: "metric, range, offset", says: "The average of the range minus that of the same range ending offset earlier.", over: changeOver, reads: colSum | colCount, extra: earlier,
		example: example{`change(x, "20s", "20s")`, []float64{10, 10, 15, 25}, 10}},
	{name: "percent_change", args: "metric, range, offset", says: "change, in percent of the earlier average.", over: percentOver, reads: colSum | colCount, extra: earlier,
		example: example{`percent_change(x, "20s", "20s")`, []float64{10, 10, 15, 25}, 100}},
	{name: "zscore", args: "metric, range, period?", says: "How many standard deviations the newest window's average is from the mean of the earlier ones in the range: of all of them, or of those that ended a whole number of periods earlier, such as \"1d\" for the same hour of earlier days. It needs five of them.",
		over: zscoreOver, reads: colSum | colCount, least: 6, extra: aPeriod,
		example: example{`zscore(x, "70s")`, []float64{9, 11, 9, 11, 9, 11, 14}, 4}},
	{name: "holt_winters", args: "metric, range, smoothing, trend", says: "The windows' averages, smoothed with their trend (double exponential smoothing): both factors are between 0 and 1; the higher, the more the newest count.",
		over: holtWintersOver, reads: colSum | colCount, least: 2, extra: aQuotient,
		example: example{`holt_winters(x, "40s", 0.5, 0.5)`, []float64{10, 20, 30, 40}, 40}},

	{name: "abs", args: "number", says: "The number's distance from 0.", one: math.Abs, within: positive, spans: absSpan, example: example{`abs(x)`, []float64{-3}, 3}},
	{name: "floor", args: "number", says: "The largest whole number not above it.", one: math.Floor, mono: true, example: example{`floor(x)`, []float64{2.7}, 2}},
	{name: "ceil", args: "number", says: "The smallest whole number not below it.", one: math.Ceil, mono: true, example: example{`ceil(x)`, []float64{2.1}, 3}},
	{name: "round", args: "number", says: "The nearest whole number; halves are rounded away from 0.", one: math.Round, mono: true, example: example{`round(x)`, []float64{2.5}, 3}},
	{name: "sqrt", args: "number", says: "Its square root; unknown for a negative number.", one: math.Sqrt, within: positive, example: example{`sqrt(x)`, []float64{9}, 3}},
	{name: "exp", args: "number", says: "e to the power of the number.", one: math.Exp, mono: true, within: positive, example: example{`exp(x)`, []float64{0}, 1}},
	{name: "ln", args: "number", says: "Its natural logarithm; unknown for 0 and below.", one: math.Log, example: example{`ln(x)`, []float64{1}, 0}},
	{name: "log2", args: "number", says: "Its logarithm to base 2.", one: math.Log2, example: example{`log2(x)`, []float64{8}, 3}},
	{name: "log10", args: "number", says: "Its logarithm to base 10.", one: math.Log10, example: example{`log10(x)`, []float64{1000}, 3}},

	{name: "minute", args: "time zone?", says: "The minute, 0 to 59, at the window's end; times are in UTC unless a zone is named, as in \"Europe/Zurich\".", at: func(t time.Time) float64 { return float64(t.Minute()) },
		within: span{lo: 0, hi: 59}, example: example{call: `minute()`, gives: 13}},
	{name: "hour", args: "time zone?", says: "The hour, 0 to 23.", at: func(t time.Time) float64 { return float64(t.Hour()) },
		within: span{lo: 0, hi: 23}, example: example{call: `hour("Europe/Zurich")`, gives: 23}},
	{name: "day_of_week", args: "time zone?", says: "The day of the week: 0 is Sunday, 6 Saturday.", at: func(t time.Time) float64 { return float64(t.Weekday()) },
		within: span{lo: 0, hi: 6}, example: example{call: `day_of_week()`, gives: 2}},
	{name: "day_of_month", args: "time zone?", says: "The day of the month, 1 to 31.", at: func(t time.Time) float64 { return float64(t.Day()) },
		within: span{lo: 1, hi: 31}, example: example{call: `day_of_month()`, gives: 14}},
	{name: "month", args: "time zone?", says: "The month, 1 to 12.", at: func(t time.Time) float64 { return float64(t.Month()) },
		within: span{lo: 1, hi: 12}, example: example{call: `month()`, gives: 11}},
}

// Functions that the compiler itself uses, such as last for a bare metric.
var (
	fnLast = &function{name: "last", args: "metric, range, offset?", says: "The last value of the range. A metric's bare name is its last value.", over: lastOver, reads: colLast, extra: anOffset,
		example: example{`last(x, "30s")`, []float64{5, 7, 9}, 9}}
	fnAvg = &function{name: "avg", args: "metric, range, offset?", says: "The average: the sum of all values divided by their count.", over: avgOver, reads: colSum | colCount, extra: anOffset,
		example: example{`avg(x, "30s")`, []float64{5, 7, 9}, 7}}
	fnCount = &function{name: "count", args: "metric, range, offset?", says: "The number of samples.", over: countOver, reads: colCount, extra: anOffset,
		within: span{lo: 1, hi: math.Inf(1)}, example: example{`count(x, "30s")`, []float64{5, 7, 9}, 3}}
	fnDelta = &function{name: "delta", args: "metric, range, offset?", says: "The last value minus the first; not extrapolated.", over: deltaOver, reads: colFirst | colLast, least: 2, extra: anOffset,
		example: example{`delta(x, "30s")`, []float64{5, 7, 9}, 4}}
)

var positive = span{lo: 0, hi: math.Inf(1)}

// byName finds functions.
var byName = func() map[string]*function {
	all := map[string]*function{}
	for _, f := range functions {
		all[f.name] = f
	}
	return all
}()

// functionNames returns all names, in the order of the table.
func functionNames() []string {
	names := []string{}
	for _, f := range functions {
		names = append(names, f.name)
	}
	return append(names, "limit", "metric")
}

// signature is a call as the docs write it.
func (f *function) signature() string { return f.name + "(" + f.args + ")" }

// usage is a call to copy, with a metric in place of the example's.
func (f *function) usage() string { return strings.Replace(f.example.call, "(x", "(cpu.usage", 1) }
