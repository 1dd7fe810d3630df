package alerts

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/weir-metrics/weir/deploy/conf"
)

// maxOfWindows bounds the N of "M of N windows": the expression is evaluated at that many ends for
// each window that closes.
const maxOfWindows = 60

// waits is a rule's for: a duration for which expr has to stay true, or, with of > 0, at how many
// (most) of the newest of windows' ends it has to be true.
type waits struct {
	duration conf.Duration
	most, of int
}

var mOfN = regexp.MustCompile(`^\s*(\d{1,4})\s+of\s+(\d{1,4})\s+windows?\s*$`)

var errWaits = errors.New("must be a duration with its unit, as 5m or 1h30m, or as in 3 of 5 windows")

// UnmarshalText reads 5m, or 3 of 5 windows.
func (w *waits) UnmarshalText(text []byte) error {
	if m := mOfN.FindSubmatch(text); m != nil {
		w.most, _ = strconv.Atoi(string(m[1])) // digits, and few
		w.of, _ = strconv.Atoi(string(m[2]))
		if w.most < 1 || w.most > w.of || w.of > maxOfWindows {
			return fmt.Errorf("must be M of N windows with M from 1 to N, and N at most %d", maxOfWindows)
		}
		return nil
	}
	d, err := conf.ParseDuration(string(text))
	if err != nil {
		return errWaits
	}
	w.duration = d
	return nil
}

// beforeMS is how much earlier than a window's end the rule evaluates its expression, too, ms.
func (r *rule) beforeMS() int64 { return int64(max(r.of-1, 0)) * r.tierMS }

// checkWaits reports if the windows that M of N needs of an input are more than a rule may keep.
func (l *loader) checkWaits(at string, r *rule, y *ruleYAML) {
	for i := range r.inputs {
		in := &r.inputs[i]
		if !in.windows() || r.of == 0 {
			continue
		}
		if n := r.keepsMS(in) / r.tierMS; n > maxRingWindows {
			l.doc.Fail(at+".for", fmt.Sprintf("%d of %d windows", y.For.most, y.For.of),
				fmt.Sprintf("needs %d windows of %s of %s, with its range, must be at most %d: name a larger tier", n, msText(r.tierMS), in.metric, maxRingWindows))
			return
		}
	}
}

// keepsMS is how far back from the newest window the rule needs those of an input, ms; 0: only the
// newest. With M of N, a metric's bare name is looked up at earlier ends, too: where another input
// has a window, that may be up to no_data before.
func (r *rule) keepsMS(in *input) int64 {
	if r.of == 0 || in.rangeMS > 0 {
		return in.backMS() + r.beforeMS()
	}
	if len(r.inputs) > 1 {
		return r.noDataMS + r.beforeMS()
	}
	return r.tierMS + r.beforeMS()
}

// judge returns the truth of the rule's expr at a window's end and its value; with M of N, yes if
// expr was true at M of the N newest ends. Ends at which no window of an input closed were not
// evaluated, and do not count. It leaves the inputs of the end in e.in.
func (e *Evaluator) judge(set *labelSet, b *binding, end int64) (truth, float64) {
	r, trues, seen := b.rule, 0, math.NaN()
	for at := end - r.beforeMS(); at < end; at += r.tierMS {
		if !b.closedAt(set, at) {
			continue
		}
		e.read(set, b, at)
		if t, v := r.expr.truth(e.in); t == yes {
			trues, seen = trues+1, first(v, seen)
		}
	}
	e.read(set, b, end)
	t, v := r.expr.truth(e.in)
	if r.of == 0 {
		return t, v
	}
	if t == yes {
		trues++
	}
	switch {
	case trues >= r.most:
		return yes, first(v, seen)
	case t == yes:
		return no, v
	}
	return t, v
}

// closedAt reports whether one of the binding's inputs has a window with that end, ms.
func (b *binding) closedAt(set *labelSet, end int64) bool {
	for _, i := range b.in {
		if i < 0 {
			continue
		}
		at := set.series[i].ring.at
		k := len(at) - 1
		for k >= 0 && at[k].endMS > end {
			k--
		}
		if k >= 0 && at[k].endMS == end {
			return true
		}
	}
	return false
}
