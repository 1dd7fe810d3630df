package ruletest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Bounds of the values of a series: of one word, and of all of them.
const (
	maxRepeat = 100_000
	maxValues = 1_000_000
)

// missing stands for a missing value; all others are finite.
var missing = math.NaN()

const number = `[0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?`

// expansion is a word of a sequence: a value, the step from it to the next, and how many follow it.
var expansion = regexp.MustCompile(`^([-+]?(?:` + number + `))(?:([-+](?:` + number + `))?x([0-9]+))?$`)

// parseSequence reads values in promtool's notation, separated by spaces: a number; axn, which is a and then a n times
// more; a+bxn and a-bxn, which is a and then n more, each b further; _ and stale, no value (weir's formats drop
// Prometheus's stale markers); _xn, no value n times. Missing values are NaN.
func parseSequence(text string) ([]float64, error) {
	var values []float64
	for _, word := range strings.Fields(text) {
		more, err := expand(word)
		if err != nil {
			return nil, err
		}
		if values = append(values, more...); len(values) > maxValues {
			return nil, fmt.Errorf("more than %d values", maxValues)
		}
	}
	return values, nil
}

func expand(word string) ([]float64, error) {
	if word == "_" || word == "stale" {
		return []float64{missing}, nil
	}
	if times, ok := strings.CutPrefix(word, "_x"); ok {
		n, err := repeats(word, times)
		return steps(missing, 0, n), err
	}
	if strings.HasPrefix(word, "{{") {
		return nil, fmt.Errorf("%.100q: a native histogram, which weir does not have", word)
	}
	m := expansion.FindStringSubmatch(word)
	if m == nil {
		return nil, fmt.Errorf("%.100q: must be a finite number, 1x5, 1+2x5, 1-2x5, _, _x5 or stale", word)
	}
	first, err := strconv.ParseFloat(m[1], 64)
	if err != nil || m[3] == "" {
		return []float64{first}, finiteOf(word, first, err)
	}
	step := 0.0
	if m[2] != "" {
		if step, err = strconv.ParseFloat(m[2], 64); err != nil {
			return nil, finiteOf(word, step, err)
		}
	}
	n, err := repeats(word, m[3])
	if err != nil {
		return nil, err
	}
	values := steps(first, step, n+1)
	return values, finiteOf(word, values[n], nil)
}

func repeats(word, times string) (int, error) {
	n, err := strconv.Atoi(times)
	if err != nil || n < 0 || n > maxRepeat {
		return 0, fmt.Errorf("%.100q: must repeat 0 to %d times", word, maxRepeat)
	}
	return n, nil
}

func steps(first, step float64, n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = first
		first += step // as promtool does: the same sums, to the bit
	}
	return values
}

func finiteOf(word string, v float64, err error) error {
	if err != nil || math.IsInf(v, 0) {
		return fmt.Errorf("%.100q: is too large a number", word)
	}
	return nil
}
