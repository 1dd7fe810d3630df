package windows

// Rewant marks the series that rules read, after they changed what the Shard's wants
// answers.
func (g *Group) Rewant(sh *Shard) {
	for i := range g.series.marks {
		metric := g.series.dict[g.series.refsOf(i)[0]].Value().Value
		g.series.marks[i] = g.series.marks[i]&^wanted | sh.wanted(metric)
	}
}
