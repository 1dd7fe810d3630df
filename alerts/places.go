package alerts

import (
	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Places finds where something stands in a YAML file.
type Places struct {
	name  string
	lines [][]rune
}

// NewPlaces returns the Places of a file.
func NewPlaces(f File) *Places { return &Places{f.Name, splitLines(f.Data)} }

// Fault is a fault, still without field and reason, at a rune of a text of the file, such as an expression: with its line,
// its column and a caret below it.
func (p *Places) Fault(text *yaml.Node, rune int) conf.Fault {
	line, column := locate(p.lines, text, rune)
	return conf.Fault{File: p.name, Line: line, Column: column, Snippet: caret(p.lines, line, column)}
}
