package windows

// Rewant marks the series that rules read, after they changed what the Core's wants
// answers.
func (g *Group) Rewant(co *Core) {
	for i := range g.series.marks {
		metric := g.series.dict[g.series.refsOf(i)[0]].Value().Value
		g.series.marks[i] = g.series.marks[i]&^wanted | co.wanted(metric)
	}
}
