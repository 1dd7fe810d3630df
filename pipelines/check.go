package pipelines

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"weir/alerts"
	"weir/schemas/conf"
)

// Check returns every fault of the files, each a config or rules, as conf.Faults,
// or nil. Which it is shows at the top: rules are a list, or have groups.
func Check(files ...string) error {
	var all error
	for _, file := range files {
		all = joinFaults(all, check(file))
	}
	return all
}

func check(file string) error {
	text, err := conf.ReadFile(file, conf.MaxRulesBytes)
	if err != nil {
		return unreadable(file, err)
	}
	if !holdsRules(text) {
		_, _, err = Load(file)
		return err
	}
	c := Default()
	_, err = alerts.Load(c.ruleConfig(), alerts.File{Name: file, Data: text})
	return err
}

// holdsRules reports whether a file's top is that of rules: a list, or groups.
func holdsRules(text []byte) bool {
	if alerts.IsList(text) {
		return true
	}
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(bytes.TrimPrefix(line, []byte("\ufeff")), []byte("groups:")) {
			return true
		}
	}
	var top yaml.Node // written in another way, as {groups: …}
	if len(text) > conf.MaxConfigBytes || yaml.Unmarshal(text, &top) != nil || len(top.Content) == 0 {
		return false // and Load says what is wrong
	}
	for i := 0; i < len(top.Content[0].Content); i += 2 {
		if top.Content[0].Content[i].Value == "groups" {
			return true
		}
	}
	return false
}
