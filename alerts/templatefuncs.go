package alerts

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
)

var (
	errBudget  = fmt.Errorf("the functions of a rule's templates are given more than %d bytes", maxTemplateBudget)
	errTooMuch = fmt.Errorf("text is longer than %d bytes", maxTextBytes)
)

// budget is how many more bytes the functions of one condition's templates may be given.
type budget struct{ left int }

func newBudget() *budget { return &budget{maxTemplateBudget} }

// String keeps a template that prints the budget from showing an address.
func (b *budget) String() string { return "" }

// callCost is what a call costs in addition to its arguments' bytes.
const callCost = 64

func (b *budget) take(args []any) error {
	cost := callCost
	for _, a := range args {
		switch a := a.(type) {
		case string:
			cost += len(a)
		case map[string]string:
			for k, v := range a {
				cost += len(k) + len(v)
			}
		default:
			cost += callCost // a number, a truth
		}
	}
	if cost > b.left {
		b.left = 0
		return errBudget
	}
	b.left -= cost
	return nil
}

// spender is a function that makes a text of at most a few bytes per byte of its arguments.
type spender func(args ...any) string

// bounded charges the budget with the arguments' bytes before make runs.
func bounded(make spender) func(*budget, ...any) (string, error) {
	return func(b *budget, args ...any) (string, error) {
		if err := b.take(args); err != nil {
			return "", err
		}
		text := make(args...)
		if len(text) > maxTextBytes {
			return "", errTooMuch
		}
		return text, nil
	}
}

// text1 is a function of one text.
func text1(f func(string) string) func(*budget, string) (string, error) {
	all := bounded(func(args ...any) string { return f(args[0].(string)) })
	return func(b *budget, s string) (string, error) { return all(b, s) }
}

// templateFuncs are all functions that make texts. The remaining ones of text/template (and, or,
// not, len, index, slice, eq, ne, lt, le, gt, ge) return one of their arguments, a part of it, or a
// number; call is refused.
var templateFuncs = template.FuncMap{
	"humanize":           humanize,
	"humanize1024":       humanize1024,
	"humanizePercentage": func(v float64) string { return fmt.Sprintf("%.4g%%", v*100) },
	"humanizeDuration":   humanizeDuration,
	"toUpper":            text1(strings.ToUpper),
	"toLower":            text1(strings.ToLower),
	"print":              bounded(fmt.Sprint),
	"println":            bounded(fmt.Sprintln),
	"html":               bounded(template.HTMLEscaper),
	"js":                 bounded(template.JSEscaper),
	"urlquery":           bounded(template.URLQueryEscaper),
	"printf":             printf,
}

// spends are the functions that are given the budget.
var spends = map[string]bool{
	"toUpper": true, "toLower": true, "print": true, "println": true, "printf": true,
	"html": true, "js": true, "urlquery": true,
}

func printf(b *budget, format string, args ...any) (string, error) {
	if err := checkFormat(format); err != nil {
		return "", err
	}
	all := bounded(func(all ...any) string { return fmt.Sprintf(all[0].(string), all[1:]...) })
	return all(b, append([]any{format}, args...)...)
}

// maxWidth is the largest width and precision of printf.
const maxWidth = 99

// checkFormat refuses formats that make more of an argument than its own text: large widths and
// precisions, those that are arguments (*), and arguments by number ([1]), which may be used again
// and again.
func checkFormat(format string) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		number := 0
	verb:
		for i++; i < len(format); i++ {
			switch c := format[i]; {
			case c >= '0' && c <= '9':
				if number = number*10 + int(c-'0'); number > maxWidth {
					return fmt.Errorf("printf: widths and precisions must be at most %d", maxWidth)
				}
			case c == '.' || c == '+' || c == '-' || c == '#' || c == ' ':
				number = 0
			case c == '*' || c == '[':
				return errors.New("printf: * and [n] are not part of rule templates")
			default:
				break verb
			}
		}
	}
	return nil
}
