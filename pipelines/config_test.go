package pipelines

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
)

// write makes a file in a folder of its own and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodRules = "groups:\n- name: g\n  rules:\n  - alert: down\n    expr: up == 0\n    for: 1m\n"

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	d := conf.Parse("", nil, &struct{}{})
	if c.validate(d); d.Err() != nil {
		t.Error(d.Err())
	}
	if _, rules, err := Load(""); err != nil || rules.Len() != 0 {
		t.Error(rules, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "r.yaml", goodRules)
	c, rules, err := Load(write(t, dir, "weir.yaml", `
http: ":8080"
shards: 4
windows: {max_age: 2d}
route: {group_labels: [rack]}
notify:
  max_age: 30m
  receivers:
  - name: c
    console: {}
rules: [r.yaml]
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP != ":8080" || c.Topics.Shards != 4 || c.Windows.MaxAge != 2*conf.Day || len(c.Windows.Tiers) != 3 ||
		c.Windows.GroupLabels[0] != "rack" || c.Notify.Delivery.MaxAge.String() != "30m" || c.Notify.Receivers[0].Name != "c" || c.Data != "data" || rules.Len() != 1 {
		t.Errorf("%+v, %d rules", c, rules.Len())
	}
}

// TestEveryFaultOfEveryFile: the faults of the config, of its sections and of its rules are returned all at once.
func TestEveryFaultOfEveryFile(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, dir, "bad.yaml", "groups:\n- name: g\n  rules:\n  - alert: a\n    expr: up ==\n  - alert: b\n    expression: up == 0\n")
	config := write(t, dir, "weir.yaml", `http: nowhere
shards: 0
brokers: ["127.0.0.1:9092", "127.0.0.1"]
broker: {port: 65536}
windows:
  tiers:
  - {size: 10s, grace: -2s, ttl: 7d}
route: {max_labels: many}
unknown: 1
rules: [bad.yaml, missing.yaml]
`)
	_, _, err := Load(config)
	var fs conf.Faults
	if !errors.As(err, &fs) {
		t.Fatal(err)
	}
	for _, want := range []string{
		config + `:1: http: "nowhere": must be host:port`,
		config + `:2: shards: "0": must be 1 to 10000`,
		config + `:3: brokers[1]: "127.0.0.1": must be host:port`,
		config + `:4: broker.port: "65536": must be 1 to 65535, or 0 for any free port`,
		config + `:7: windows.tiers[0].grace: "-2s": must be at least 0s`,
		config + `:8: route.max_labels: "many": must be a whole number`,
		config + `:9: unknown: unknown field`,
		config + `:10: rules[1]: "missing.yaml": must be readable: no such file or directory`,
		bad + `:5`, bad + `:7`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if len(fs) < 10 {
		t.Errorf("%d faults", len(fs))
	}
}

func TestLoadNeedsItsFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	if _, _, err := Load(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
}

func TestOverride(t *testing.T) {
	c := Default()
	if err := c.Override(Overrides{Data: "elsewhere", Brokers: []string{"b:9092"}}); err != nil {
		t.Error(err)
	}
	if c.HTTP != DefaultHTTP || c.Data != "elsewhere" || c.Brokers[0] != "b:9092" {
		t.Errorf("%+v", c)
	}
	err := c.Override(Overrides{HTTP: "7070", Brokers: []string{"a"}})
	want := "command line: http: \"7070\": must be host:port\ncommand line: brokers[0]: \"a\": must be host:port"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestParseRoles(t *testing.T) {
	all, err := ParseRoles("")
	if err != nil || len(all) != len(Roles) {
		t.Error(all, err)
	}
	some, err := ParseRoles("route, window")
	if err != nil || strings.Join(some, "+") != "route+window" {
		t.Error(some, err)
	}
	if _, err := ParseRoles("route,windows"); err == nil || !strings.Contains(err.Error(), `role "windows": must be one of route, window,`) {
		t.Error(err)
	}
}

// TestDeployedConfig: deploy/weir.yaml names every field, with its default.
func TestDeployedConfig(t *testing.T) {
	const file = "../deploy/weir.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, rules, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if rules.Len() == 0 {
		t.Error("no rules")
	}
	c.Rules, c.source = nil, source{}
	want := Default()
	want.Brokers, want.CQL.Hosts = []string{}, []string{}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("differs from the defaults:\n got %+v\nwant %+v", *c, want)
	}
	for _, field := range fieldsOf(reflect.TypeFor[Config]()) {
		if !regexp.MustCompile(`(?m)(^|[{ ])` + field + `:`).Match(text) {
			t.Errorf("the field %s is not there", field)
		}
	}
}

// fieldsOf returns the YAML names of a config's fields, and of the fields below them.
func fieldsOf(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Map:
		return fieldsOf(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if name != "" && name != "-" {
				names = append(names, name)
			}
			names = append(names, fieldsOf(t.Field(i).Type)...)
		}
	}
	return names
}
