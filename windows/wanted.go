package windows

// Rewant marks the series that rules read, after they changed what the Core's wants
// answers.
func (g *Group) Rewant(co *Core) {
	for i := range g.marks {
		metric := g.dict[g.seriesRefs(i)[0]].Value().Value
		g.marks[i] = g.marks[i]&^wanted | co.wanted(metric)
	}
}
