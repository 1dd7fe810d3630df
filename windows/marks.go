package windows

// mark is what a group remembers about a series beside its name.
type mark uint8

const (
	readByRules mark = 1 << iota // a rule reads the metric
	overflow                     // it is an overflow series, by its name
)

// readByRules marks the series of a metric that a rule reads.
func (sh *Shard) readByRules(metric string) mark {
	if sh.reads != nil && sh.reads(metric) {
		return readByRules
	}
	return 0
}

// MarkRead marks the series that rules read; call it when the answers of the Shard's reads have
// changed.
func (g *Group) MarkRead(sh *Shard) {
	for i := range g.series.marks {
		metric := g.series.dict[g.series.refsOf(i)[0]].Value().Value
		g.series.marks[i] = g.series.marks[i]&^readByRules | sh.readByRules(metric)
	}
}
