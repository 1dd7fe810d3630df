package main

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// consuming lists the options of kgo that make a client read.
func consuming(name string) bool {
	return strings.HasPrefix(name, "Consume") || name == "ConsumerGroup" || strings.HasPrefix(name, "Fetch")
}

// TestEveryConsumerIsMadeHere: everything that reads Kafka goes through schemas/consume, which reads committed records only and
// bounds what a batch may unpack to. Goka's client has the same isolation level in its config, and gets the bounds through its
// connections. Elsewhere kgo makes only producers, in the listed folders.
func TestEveryConsumerIsMadeHere(t *testing.T) {
	producers := []string{"processors/notify", "processors/route", "processors/writeback", "processors/connect", "collect", "pipelines/enginetest", "pipelines/attack", "schemas/kafkatest"}
	made, goka := 0, 0
	for _, f := range sources(t) {
		if f.test() {
			continue
		}
		readers, committed, bounded := 0, false, false
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "ReadCommitted" {
				committed = true
			}
			if l, ok := n.(*ast.CallExpr); ok {
				if s, ok := l.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "bound" {
					bounded = true
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name := qualified(call.Fun); {
			case name == "consume.New":
				made++
			case name == "goka.DefaultConfig" || name == "sarama.NewConfig":
				readers++
			case name == "kgo.NewClient" && f.folder != "schemas/consume":
				if !slices.Contains(producers, f.folder) {
					t.Errorf("%s makes a client by kgo.NewClient: if it reads, use schemas/consume", f.path)
				}
				for _, arg := range call.Args {
					ast.Inspect(arg, func(n ast.Node) bool {
						if s, ok := n.(*ast.SelectorExpr); ok && qualified(s) == "kgo."+s.Sel.Name && consuming(s.Sel.Name) {
							t.Errorf("%s reads with a client of kgo.NewClient (kgo.%s): use schemas/consume", f.path, s.Sel.Name)
						}
						return true
					})
				}
			}
			return true
		})
		if goka += readers; readers > 0 && !committed {
			t.Errorf("%s configures sarama, and not to read committed records only", f.path)
		}
		if readers > 0 && !bounded {
			t.Errorf("%s configures sarama, and not to read through a consume.Dialer (bound)", f.path)
		}
	}
	if made < 7 || goka < 1 {
		t.Errorf("%d consumers of kgo and %d of sarama: does this test look in the right places?", made, goka)
	}
}

// qualified returns a name such as "kgo.NewClient", or "".
func qualified(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}
