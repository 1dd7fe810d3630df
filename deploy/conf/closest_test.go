package conf

import "testing"

func TestClosest(t *testing.T) {
	names := []string{"page", "ticket", "info", "cpu.usage", "mem.used"}
	for text, want := range map[string]string{"paeg": "page", "pages": "page", "tickt": "ticket", "cpu.usge": "cpu.usage", "cpu_usage": "cpu.usage",
		"page": "", "critical": "", "": "", "x": "", "inof": "info", "memused": "mem.used"} {
		if got := Closest(text, names); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		n    int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"abcd", "badc", 2}} {
		if got := changes(c.a, c.b); got != c.n {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.n)
		}
	}
}
