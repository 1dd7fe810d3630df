package members

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// play makes a judge live through a text, in which each word is an event.
//
//	me         the watcher renews   a, b       a or b renews, in its first life
//	a2         a renews in a second life       a@x  from another address
//	a+ a! a?   a answered, refused, was silent
//	-a         a said goodbye       out:a      a was taken out
//
// A word may be followed by *N. play returns who is dead at the end, and why.
func play(t *testing.T, text string) string {
	t.Helper()
	j := NewJudge("me")
	address := map[string]string{}
	for _, word := range strings.Fields(text) {
		word, times, _ := strings.Cut(word, "*")
		n := 1
		if times != "" {
			if _, err := fmt.Sscan(times, &n); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			switch {
			case word == "me":
				j.Renewed("me", "own", 1)
			case strings.HasPrefix(word, "-"):
				j.Left(word[1:])
			case strings.HasPrefix(word, "out:"):
				j.Out(word[4:])
			case strings.HasSuffix(word, "+"):
				j.Asked(word[:1], address[word[:1]], Answered)
			case strings.HasSuffix(word, "!"):
				j.Asked(word[:1], address[word[:1]], Refused)
			case strings.HasSuffix(word, "?"):
				j.Asked(word[:1], address[word[:1]], Silent)
			case strings.Contains(word, "@"):
				address[word[:1]] = word[2:]
				j.Renewed(word[:1], word[2:], 1)
			default:
				life := int64(len(word)) // a: 1, a2: 2
				if address[word[:1]] == "" {
					address[word[:1]] = "at " + word[:1]
				}
				j.Renewed(word[:1], address[word[:1]], life)
			}
		}
	}
	var dead []string
	for _, d := range j.Dead() {
		dead = append(dead, d.Instance+" "+d.Why)
	}
	return strings.Join(dead, ", ")
}

func TestJudge(t *testing.T) {
	for _, c := range []struct{ name, text, dead string }{
		{"killed", "me a a+ a!*2 me*3", "a refuses"},
		{"one refusal is none", "me a a+ a! me*9", ""},
		{"refusals must follow each other", "me a a+ a! a? a! me*9", ""},
		{"it renews, so it lives: another listens at its address", "me a a+ a!*9 me*2 a me*2", ""},
		{"stopped", "me a a+ a?*3 me*12", "a silent"},
		{"refuses after it was silent", "me a a+ a? a!*2 me*3", "a refuses"},
		{"hangs for less than three questions", "me a a+ a?*2 me*30", ""},
		{"hangs for three seconds, and renews", "me a a+ a?*9 me*11 a", ""},
		{"never reached", "me a a!*9 me*30", ""},
		{"not reached in this life", "me a a+ a2 a!*9 me*30", ""},
		{"not reached at this address", "me a@x a+ a@y a!*9 me*30", ""},
		{"the watcher stood still: nobody renewed", "me a a+ a?*20", ""},
		{"answers again", "me a a+ a?*9 a+ me*30", ""},
		{"said goodbye", "me a a+ -a a!*9 me*30", ""},
		{"taken out", "me a a+ a!*2 me*3 out:a a!*9 me*9", ""},
		{"taken out, back, not reached", "me a a+ a!*2 me*3 out:a a a!*9 me*9", ""},
		{"taken out, back, reached, killed again", "me a a+ a!*2 me*3 out:a a a+ a!*2 me*3", "a refuses"},
		{"two at once", "me a b a+ b+ a!*2 b!*2 me*3", "a refuses, b refuses"},
		{"forgotten", "me a a+ a!*2 me*2401", ""},
	} {
		if got := play(t, c.text); got != c.dead {
			t.Errorf("%s: dead %q, want %q", c.name, got, c.dead)
		}
	}
}

// TestEverybodyIsWatched: whatever the number of members, each is watched by as many others as there may be, even after
// some were removed.
func TestEverybodyIsWatched(t *testing.T) {
	for _, n := range []int{2, 3, 4, 5, 50} {
		for _, gone := range []int{0, 1, n / 2} {
			times := map[string]int{}
			id := func(i int) string { return fmt.Sprintf("%03d", i*7919%1000) }
			for i := gone; i < n; i++ {
				j := NewJudge(id(i))
				for k := range n {
					j.Renewed(id(k), "at "+id(k), 1)
				}
				for k := range gone {
					j.Out(id(k))
				}
				if j.Known() != n-gone-1 {
					t.Fatalf("%d known of %d, %d gone", j.Known(), n, gone)
				}
				for w, address := range j.Watched() {
					if address != "at "+w {
						t.Fatalf("%s at %q", w, address)
					}
					times[w]++
				}
			}
			for i := gone; i < n; i++ {
				if want := min(watchEach, n-gone-1); times[id(i)] != want {
					t.Errorf("%d members, %d gone: %s is watched by %d, want %d", n, gone, id(i), times[id(i)], want)
				}
			}
			for i := range gone {
				if times[id(i)] != 0 {
					t.Errorf("%s is gone and watched", id(i))
				}
			}
		}
	}
}

// TestBounded: records in the topic, whoever writes them, do not fill memory.
func TestBounded(t *testing.T) {
	j := NewJudge("me")
	for i := range 2 * maxKnown {
		j.Renewed(fmt.Sprint(i), "x", 1)
	}
	if j.Known() != maxKnown {
		t.Errorf("%d known", j.Known())
	}
	for range missedForget + 1 {
		j.Renewed("me", "own", 1)
	}
	if j.Known() != 0 || len(slices.Collect(maps.Keys(j.Watched()))) != 0 {
		t.Errorf("%d known after ten minutes of silence", j.Known())
	}
}
