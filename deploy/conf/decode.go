package conf

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	tagNull  = "!!null"
	tagBool  = "!!bool"
	tagInt   = "!!int"
	tagFloat = "!!float"
)

// decode puts n into v, which must be settable, and records every fault below it.
func (d *Doc) decode(n *yaml.Node, path string, v reflect.Value, depth int) {
	if _, known := d.at[path]; !known {
		d.at[path] = position{n.Line, n.Column}
	}
	for n.Kind == yaml.AliasNode && depth <= maxDepth {
		n, depth = n.Alias, depth+1
	}
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 {
			d.wrong(n, path, fmt.Sprintf("must not nest deeper than %d, or have more than %d values with its aliases expanded", maxDepth, maxNodes))
			d.nodes = maxNodes + 1 // one fault, rather than one for each of the rest
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch to := v.Addr().Interface().(type) {
	case *Secret:
		d.decodeSecret(n, path, to)
		return
	case *yaml.Node:
		*to = *n
		return
	case encoding.TextUnmarshaler:
		d.decodeText(n, path, to)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, path, v, depth)
	case reflect.Map:
		d.decodeMap(n, path, v, depth)
	case reflect.Slice:
		d.decodeSlice(n, path, v, depth)
	default:
		d.decodeScalar(n, path, v)
	}
}

// wrong records that n is not what the field takes. It quotes only scalars where another scalar is
// expected: a text in place of a mapping may be a secret under a wrong name.
func (d *Doc) wrong(n *yaml.Node, path, bound string) {
	d.bad[path] = true
	d.FailAt(n.Line, n.Column, path, nil, bound, "")
}

func (d *Doc) wrongScalar(n *yaml.Node, path, bound string) {
	d.bad[path] = true
	d.FailAt(n.Line, n.Column, path, n.Value, bound, "")
}

// pairs calls each for every key of a mapping, and records what is wrong with keys.
func (d *Doc) pairs(n *yaml.Node, path string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "must be a mapping (name: value), is "+kindName(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.wrong(key, path, "a name must be text, is "+kindName(key))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			d.wrong(key, join(path, key.Value), fmt.Sprintf("given twice, first in line %d", first))
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

func (d *Doc) decodeStruct(n *yaml.Node, path string, v reflect.Value, depth int) {
	fields := map[string]reflect.Value{}
	names := fieldsOf(v, fields, nil)
	d.pairs(n, path, func(key, value *yaml.Node) {
		at := join(path, key.Value)
		field, ok := fields[key.Value]
		if !ok {
			slices.Sort(names)
			d.wrong(key, at, "unknown field, must be one of "+strings.Join(names, ", "))
			return
		}
		d.at[at] = position{value.Line, value.Column}
		if value.Kind == yaml.ScalarNode && value.ShortTag() == tagNull {
			d.at[at] = position{key.Line, key.Column} // a missing value has no position of its own
		}
		d.decode(value, at, field, depth+1)
	})
}

// fieldsOf adds the fields of a struct by their yaml names, including those of inlined structs.
func fieldsOf(v reflect.Value, into map[string]reflect.Value, names []string) []string {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline":
			names = fieldsOf(v.Field(i), into, names)
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			into[name] = v.Field(i)
			names = append(names, name)
		}
	}
	return names
}

func (d *Doc) decodeMap(n *yaml.Node, path string, v reflect.Value, depth int) {
	m := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(key, value *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, join(path, key.Value), elem, depth+1)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), elem)
	})
	v.Set(m)
}

func (d *Doc) decodeSlice(n *yaml.Node, path string, v reflect.Value, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "must be a list, is "+kindName(n))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		d.decode(c, fmt.Sprintf("%s[%d]", path, i), s.Index(i), depth+1)
	}
	v.Set(s)
}

func (d *Doc) decodeText(n *yaml.Node, path string, to encoding.TextUnmarshaler) {
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, path, "must be a text, is "+kindName(n))
		return
	}
	if err := to.UnmarshalText([]byte(n.Value)); err != nil {
		d.wrongScalar(n, path, err.Error())
	}
}

// decimal is how numbers are written. YAML accepts more: 010 for 8, 0x10, 1_000.
var decimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?$`)

func (d *Doc) decodeScalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, path, "must be "+typeName(v.Kind())+", is "+kindName(n))
		return
	}
	tag := n.ShortTag()
	switch k := v.Kind(); {
	case k == reflect.String:
		v.SetString(n.Value)
	case k == reflect.Bool:
		var b bool
		if tag != tagBool || n.Decode(&b) != nil {
			d.wrongScalar(n, path, "must be true or false")
			return
		}
		v.SetBool(b)
	case v.CanInt():
		var i int64
		if tag != tagInt || n.Decode(&i) != nil {
			d.wrongScalar(n, path, "must be a whole number")
		} else if !decimal.MatchString(n.Value) {
			d.wrongScalar(n, path, "must be in decimal digits: 1000, not 1_000, 0x3e8 or 01000")
		} else if v.OverflowInt(i) {
			d.wrongScalar(n, path, fmt.Sprintf("must fit in %d bits", v.Type().Bits()))
		} else {
			v.SetInt(i)
		}
	case v.CanUint():
		var u uint64
		if tag != tagInt || n.Decode(&u) != nil {
			d.wrongScalar(n, path, "must be a whole number, at least 0")
		} else if !decimal.MatchString(n.Value) {
			d.wrongScalar(n, path, "must be in decimal digits: 1000, not 1_000, 0x3e8 or 01000")
		} else if v.OverflowUint(u) {
			d.wrongScalar(n, path, fmt.Sprintf("must fit in %d bits", v.Type().Bits()))
		} else {
			v.SetUint(u)
		}
	case v.CanFloat():
		var f float64
		if tag != tagFloat && tag != tagInt || !decimal.MatchString(n.Value) || n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.wrongScalar(n, path, "must be a finite number")
			return
		}
		v.SetFloat(f)
	default:
		d.wrong(n, path, "is a field that files cannot set ("+v.Type().String()+")")
	}
}

func typeName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}
