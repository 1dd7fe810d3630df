// Package conf reads weir's YAML files strictly and reports every fault in them
// at once, each with its file, line, field, value and the bound it breaks.
//
// A package that has settings exports
//
//	type Config struct{ … }                              // yaml tags
//	func Default() Config                                // every field set
//	func (c *Config) Validate(at string, d *conf.Doc)    // at: path prefix, "windows"
//
// and whoever reads a file does, in this order: fill the struct with the defaults, Parse into it,
// Validate each part, check Doc.Err.
//
// Contract: fields that the file does not name, or names without a value, keep their values. Lists
// and maps are replaced whole. A field that the struct does not have, a field given twice and a
// value of the wrong type are faults; decoding continues after each. Nothing panics on any input,
// and the text of a Secret is never part of a fault.
package conf
