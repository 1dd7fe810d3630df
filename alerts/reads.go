package alerts

import "slices"

// Read is what a rule reads.
type Read struct {
	Rule    string   // group/alert
	Metrics []string // each once, in the order of the expression
	TierMS  int64    // of the windows
	// HistoryMS is how far back the rule looks, ms: its longest range with its offset, and no_data, which shows whether a
	// series is older than that; for a bare metric no_data; and then its for, the longest of its levels, or the windows of M of N.
	HistoryMS int64
}

// Reads tells what each rule reads, in the order of the files.
func (rs *RuleSet) Reads() []Read {
	all := make([]Read, len(rs.rules))
	for i, r := range rs.rules {
		x := Read{Rule: r.name, TierMS: r.tierMS}
		for k := range r.inputs {
			in := &r.inputs[k]
			if !in.windows() {
				continue
			}
			if !slices.Contains(x.Metrics, in.metric) {
				x.Metrics = append(x.Metrics, in.metric)
			}
			back := in.backMS()
			if in.rangeMS == 0 {
				back = r.noDataMS
			} else if r.coverage > 0 && in.rangeMS > r.tierMS {
				back += r.noDataMS
			}
			x.HistoryMS = max(x.HistoryMS, back)
		}
		waits := max(r.forMS, int64(r.of)*r.tierMS)
		for _, v := range r.levels {
			waits = max(waits, v.ForMS)
		}
		x.HistoryMS += waits
		all[i] = x
	}
	return all
}
