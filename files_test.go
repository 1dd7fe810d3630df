package main

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFilesAreReadWithBounds: deploy/conf reads the files that a config or a command names; it neither waits for a FIFO or a device
// nor reads without a bound. Exceptions are listed here, with the reason.
func TestFilesAreReadWithBounds(t *testing.T) {
	reading := []string{"os.ReadFile", "os.Open", "os.OpenFile", "os.ReadDir", "tls.LoadX509KeyPair", "ioutil.ReadFile"}
	listed := map[string]string{
		"main.go":                    "the terminal",
		"recordings.go":              "recordings: read as a stream, and a pipe is welcome",
		"collect/recording.go":       "as recordings.go",
		"pipelines/broker/broker.go": "the lock of the data folder: it is made, not read",
		"pipelines/enginetest/*":     "helpers of tests",
		"deploy/conf/read.go":        "the one place",
		"processors/writeback/*":     "the local store, in weir's own data folder",
	}
	used := map[string]bool{}
	for _, f := range sources(t) {
		if f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(reading, qualified(s)) {
				return true
			}
			for _, name := range []string{f.path, f.folder + "/*"} {
				if listed[name] != "" {
					used[name] = true
					return true
				}
			}
			t.Errorf("%s reads by %s: use conf.ReadFile, ReadSmall or KeyPair", f.path, qualified(s))
			return true
		})
	}
	for name := range listed {
		if !used[name] {
			t.Errorf("%s reads no file any more: take it off the list", name)
		}
	}
}

// TestNamedFilesExist: files that a page or a comment names by their path from the root exist. The changelog may name files that
// are gone.
func TestNamedFilesExist(t *testing.T) {
	var tops []string
	for folder := range layer {
		if folder != "" {
			tops = append(tops, folder)
		}
	}
	slices.Sort(tops)
	named := regexp.MustCompile(`\b(?:` + strings.Join(tops, "|") + `)/[\w./-]+\.(?:go|md|sh|yaml|trace)\b`)
	found := 0
	look := func(where, text string) {
		for _, name := range named.FindAllString(text, -1) {
			found++
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s: %v", where, name, err)
			}
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		look(page, string(b))
	}
	for _, f := range sources(t) {
		for _, c := range f.ast.Comments {
			look(f.path, c.Text())
		}
	}
	if found < 10 {
		t.Errorf("%d names of files: are these all?", found)
	}
}
