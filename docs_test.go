package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var rewrite = flag.Bool("rewrite", false, "write the generated pages of docs")

// upToDate compares a page of docs with its generated text or, with -rewrite, writes it.
func upToDate(t *testing.T, file, want string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: go test . -run %s -rewrite", file, t.Name())
	}
}

// TestMetricsPage: docs/metrics.md lists every metric that the code makes.
func TestMetricsPage(t *testing.T) {
	var all []madeMetric
	for _, f := range sources(t) {
		if !f.test() && !strings.Contains(f.folder, "test") {
			all = append(all, metricsOf(t, f.ast)...)
		}
	}
	slices.SortFunc(all, func(a, b madeMetric) int { return cmp.Compare(a.name, b.name) })
	all = slices.CompactFunc(all, func(a, b madeMetric) bool { return a.name == b.name })
	if len(all) < 80 {
		t.Errorf("%d metrics: are these all?", len(all))
	}
	var page strings.Builder
	page.WriteString("# Metrics\n\nWhat `GET /metrics` of each process has of weir's own. Go's and the process's own metrics are there, too.\n" +
		"The page is generated from the code: `go test . -run TestMetricsPage -rewrite`.\n\n| metric | type | labels | what it is |\n|---|---|---|---|\n")
	for _, m := range all {
		if m.help == "" || !strings.HasPrefix(m.name, "weir_") {
			t.Errorf("metric %q has the help %q", m.name, m.help)
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
	}
	upToDate(t, "docs/metrics.md", page.String())
}

type madeMetric struct {
	name, kind, help string
	labels           []string
}

// metricsOf finds the metrics that a file makes: calls of prometheus.NewX with a literal of its options. A name or a
// help that is a parameter of the function around it is taken from the calls of that function in the file.
func metricsOf(t *testing.T, f *ast.File) []madeMetric {
	consts := stringConsts(f)
	var all []madeMetric
	for _, maker := range makers(f) {
		ast.Inspect(maker.body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			kind, isMaker := kindOf(call, ok)
			if !isMaker {
				return true
			}
			opts, ok := call.Args[0].(*ast.CompositeLit)
			if !ok {
				t.Fatalf("%s: the options are no literal", kind)
			}
			fields := map[string]ast.Expr{}
			for _, e := range opts.Elts {
				kv := e.(*ast.KeyValueExpr)
				fields[kv.Key.(*ast.Ident).Name] = kv.Value
			}
			m := madeMetric{kind: strings.ToLower(kind), labels: literals(call.Args[1:])}
			if l, ok := fields["ConstLabels"].(*ast.CompositeLit); ok {
				for _, e := range l.Elts {
					if key, ok := e.(*ast.KeyValueExpr).Key.(*ast.BasicLit); ok {
						m.labels = append(m.labels, unquote(key))
					}
				}
			}
			for _, args := range maker.calls {
				m.name, m.help = text(fields["Name"], args, consts), text(fields["Help"], args, consts)
				if m.name != "" {
					all = append(all, m)
				}
			}
			return true
		})
	}
	return all
}

// kindOf returns Counter, Gauge or Histogram if a call makes one.
func kindOf(call *ast.CallExpr, ok bool) (string, bool) {
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	fn, ok := call.Fun.(*ast.SelectorExpr)
	if pkg, isIdent := ast.Unparen(fnPackage(fn, ok)).(*ast.Ident); !isIdent || pkg.Name != "prometheus" {
		return "", false
	}
	name, isNew := strings.CutPrefix(fn.Sel.Name, "New")
	kind := strings.TrimSuffix(strings.TrimSuffix(name, "Vec"), "Func")
	return kind, isNew && (kind == "Counter" || kind == "Gauge" || kind == "Histogram")
}

func fnPackage(fn *ast.SelectorExpr, ok bool) ast.Expr {
	if !ok {
		return &ast.BadExpr{}
	}
	return fn.X
}

// maker is a function that may make metrics, with the arguments of each of its calls. If it is not a helper with parameters,
// there is one call without arguments.
type maker struct {
	body  ast.Node
	calls []map[string]ast.Expr
}

// makers returns the helpers of a file that take a name, and the rest of the file.
func makers(f *ast.File) []maker {
	var all []maker
	helpers := map[ast.Node]bool{}
	for _, fn := range namedFuncs(f) {
		var params []string
		for _, p := range fn.kind.Params.List {
			for _, name := range p.Names {
				params = append(params, name.Name)
			}
		}
		m := maker{body: fn.body}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == fn.name && len(call.Args) == len(params) {
				args := map[string]ast.Expr{}
				for i, p := range params {
					args[p] = call.Args[i]
				}
				m.calls = append(m.calls, args)
			}
			return true
		})
		helpers[fn.body] = true
		all = append(all, m)
	}
	rest := &ast.BlockStmt{}
	ast.Inspect(f, func(n ast.Node) bool {
		if helpers[n] {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok {
			if _, isMaker := kindOf(call, true); isMaker {
				rest.List = append(rest.List, &ast.ExprStmt{X: call})
				return false
			}
		}
		return true
	})
	return append(all, maker{rest, []map[string]ast.Expr{{}}})
}

type namedFunc struct {
	name string
	kind *ast.FuncType
	body *ast.BlockStmt
}

// namedFuncs returns the functions of a file that take the name of a metric.
func namedFuncs(f *ast.File) []namedFunc {
	var all []namedFunc
	takesName := func(kind *ast.FuncType) bool {
		for _, p := range kind.Params.List {
			for _, name := range p.Names {
				if name.Name == "name" {
					return true
				}
			}
		}
		return false
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Body != nil && takesName(n.Type) {
				all = append(all, namedFunc{n.Name.Name, n.Type, n.Body})
			}
		case *ast.AssignStmt:
			if fn, ok := n.Rhs[0].(*ast.FuncLit); ok && len(n.Lhs) == 1 && takesName(fn.Type) {
				all = append(all, namedFunc{n.Lhs[0].(*ast.Ident).Name, fn.Type, fn.Body})
			}
		}
		return true
	})
	return all
}

// stringConsts returns the string constants of a file, including those inside functions.
func stringConsts(f *ast.File) map[string]string {
	consts := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for i, name := range v.Names {
				if i < len(v.Values) {
					consts[name.Name] = text(v.Values[i], nil, nil)
				}
			}
		}
		return true
	})
	return consts
}

// text evaluates an expression of literals, constants and arguments. Unknown parts are empty.
func text(e ast.Expr, args map[string]ast.Expr, consts map[string]string) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return unquote(e)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return text(e.X, args, consts) + text(e.Y, args, consts)
		}
	case *ast.Ident:
		if arg, ok := args[e.Name]; ok {
			return text(arg, nil, consts)
		}
		return consts[e.Name]
	}
	return ""
}

func unquote(e *ast.BasicLit) string {
	s, err := strconv.Unquote(e.Value)
	if err != nil {
		return ""
	}
	return s
}

// literals returns the strings of the first slice of strings among the arguments.
func literals(args []ast.Expr) []string {
	var all []string
	for _, a := range args {
		if l, ok := a.(*ast.CompositeLit); ok {
			for _, e := range l.Elts {
				if s, ok := e.(*ast.BasicLit); ok {
					all = append(all, unquote(s))
				}
			}
		}
	}
	return all
}

// TestConfigurationPage: docs/configuration.md lists every field of the config with its default and a description, taken from
// deploy/weir.yaml. TestDeployedConfig checks that that file is complete and has the defaults.
func TestConfigurationPage(t *testing.T) {
	text, err := os.ReadFile("deploy/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	page.WriteString("# Configuration\n\nEvery field of weir's config, its default, and what it is. `weir check FILE` tells all faults of a config at once, each with\n" +
		"its file, line, field, value and the bound that it broke; unknown fields are faults. Durations are written `250ms`, `10s`,\n`5m`, `1h30m`, `7d`, `1w`. " +
		"The page is generated from [deploy/weir.yaml](../deploy/weir.yaml): `go test . -run TestConfigurationPage -rewrite`.\n")
	root := doc.Content[0]
	plain := &yaml.Node{Kind: yaml.MappingNode} // fields that are in no section
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
			plain.Content = append(plain.Content, key, value)
		}
	}
	page.WriteString("\n## Fields of no section\n")
	writeFields(&page, "", plain)
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			fmt.Fprintf(&page, "\n## %s\n\n%s\n", key.Value, comment(key.HeadComment, key.LineComment))
			writeFields(&page, key.Value, value)
		}
	}
	upToDate(t, "docs/configuration.md", page.String())
}

func writeFields(page *strings.Builder, at string, section *yaml.Node) {
	page.WriteString("\n| field | default | what it is |\n|---|---|---|\n")
	writeRows(page, at, section)
}

func writeRows(page *strings.Builder, at string, section *yaml.Node) {
	for i := 0; i < len(section.Content); i += 2 {
		key, value := section.Content[i], section.Content[i+1]
		name := strings.TrimPrefix(at+"."+key.Value, ".")
		about := comment(key.HeadComment, key.LineComment, value.HeadComment, value.LineComment, key.FootComment)
		switch {
		case value.Kind == yaml.MappingNode && len(value.Content) > 0:
			if about != "" {
				fmt.Fprintf(page, "| `%s` | | %s |\n", name, about)
			}
			writeRows(page, name, value)
		default:
			fmt.Fprintf(page, "| `%s` | `%s` | %s |\n", name, inline(value), about)
		}
	}
}

// inline writes a value on one line.
func inline(v *yaml.Node) string {
	switch v.Kind {
	case yaml.ScalarNode:
		if v.Value == "" {
			return `""`
		}
		return v.Value
	case yaml.SequenceNode:
		var items []string
		for _, e := range v.Content {
			items = append(items, inline(e))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	var items []string
	for i := 0; i+1 < len(v.Content); i += 2 {
		items = append(items, v.Content[i].Value+": "+inline(v.Content[i+1]))
	}
	return "{" + strings.Join(items, ", ") + "}"
}

// comment joins the lines of comments to one, for a cell of a table.
func comment(parts ...string) string {
	var words []string
	for _, p := range parts {
		for line := range strings.Lines(p) {
			words = append(words, strings.Fields(strings.TrimLeft(strings.TrimSpace(line), "#"))...)
		}
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", "\\|")
}
