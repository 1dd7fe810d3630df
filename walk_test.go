package main

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheWalkIsTrue: each function that docs/ARCHITECTURE.md names on the way of one sample is in the file that stands before it,
// and is named once; each file that the page names is there.
func TestTheWalkIsTrue(t *testing.T) {
	page, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]map[string]bool{} // by file
	for _, f := range sources(t) {
		of := map[string]bool{}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				of[methodName(fn)] = true
			}
		}
		functions[f.path] = of
	}
	_, walk, found := strings.Cut(string(page), "## One sample, ")
	if !found {
		t.Fatal("no walk")
	}
	walk, _, _ = strings.Cut(walk, "\n## ")
	word := regexp.MustCompile("\\]\\(\\.\\./([^)]+)\\)|`([^`]+)`")
	named := map[string]bool{}
	for line := range strings.Lines(walk) {
		file := ""
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range word.FindAllStringSubmatch(cells[2], -1) {
				switch name := m[2]; {
				case m[1] != "":
					file = m[1]
				case !functions[file][name]:
					t.Errorf("%s is not in %s", name, file)
				case named[name]:
					t.Errorf("%s is named twice", name)
				default:
					named[name] = true
				}
			}
		}
	}
	if len(named) < 30 {
		t.Errorf("%d functions: is this the walk?", len(named))
	}
	for _, m := range regexp.MustCompile(`\]\(\.\./([^)#]+)\)`).FindAllStringSubmatch(string(page), -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
}

// methodName is Type.Name for a method, else the name.
func methodName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}
