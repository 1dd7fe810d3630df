package simulation

import (
	"fmt"
	"strings"
)

// Run is one run of the simulation: the shape of its world, and what happened there.
type Run struct {
	Params Params
	Ops    []Op
	Stats  Stats
	Err    error // the first violation, or nil
}

// Seed plays the run of a seed.
func Seed(seed uint64) *Run {
	p := newPlanner(seed)
	p.run()
	return &Run{Params: p.w.params, Ops: p.ops, Err: p.w.end(), Stats: p.w.stats}
}

// Replay plays ops in a new world.
func Replay(params Params, ops []Op) *Run {
	w := newWorld(params)
	for _, op := range ops {
		if w.fault != nil {
			break
		}
		w.do(op)
	}
	return &Run{Params: params, Ops: ops, Err: w.end(), Stats: w.stats}
}

// end finishes and checks a world.
func (w *World) end() error {
	if w.fault == nil {
		w.finish()
	}
	return w.check()
}

// Shrink leaves out ops for as long as the run fails with the same kind of violation, and
// returns the shortest run that it found. It tries at most tries runs.
func (r *Run) Shrink(tries int) *Run {
	if r.Err == nil {
		return r
	}
	kind := kindOf(r.Err)
	best := r
	for size := len(r.Ops) / 2; size > 0 && tries > 0; {
		smaller := false
		for at := 0; at < len(best.Ops) && tries > 0; tries-- {
			ops := append(append([]Op(nil), best.Ops[:at]...), best.Ops[min(at+size, len(best.Ops)):]...)
			if try := Replay(r.Params, ops); try.Err != nil && kindOf(try.Err) == kind {
				best, smaller = try, true
			} else {
				at += size
			}
		}
		if !smaller || size > len(best.Ops)/2 {
			size /= 2
		}
	}
	return best
}

// kindOf returns the part of a violation that does not depend on names and numbers.
func kindOf(err error) string {
	kind, _, _ := strings.Cut(err.Error(), ":")
	return kind
}

// Trace returns the run as text, which ParseTrace reads.
func (r *Run) Trace() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Params)
	for _, op := range r.Ops {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

// ParseTrace reads what Trace wrote, and skips lines that begin with #. Its error quotes
// the line at which it stopped.
func ParseTrace(text string) (Params, []Op, error) {
	var params Params
	var ops []Op
	known := false
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if !known {
			params, err = ParseParams(line)
			known = true
		} else {
			var op Op
			op, err = ParseOp(line)
			ops = append(ops, op)
		}
		if err != nil {
			return params, nil, err
		}
	}
	return params, ops, nil
}
