package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// command runs the program, which must refuse with exit code 1 or 2, a reason, and no panic.
func command(ctx context.Context, t Target, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.Binary, args...)
	cmd.Dir = t.Dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := out.String()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", fmt.Errorf("accepted: %s", short(text))
	case !errors.As(err, &exit):
		return "", err
	case exit.ExitCode() != 1 && exit.ExitCode() != 2, strings.Contains(text, "goroutine "), strings.TrimSpace(text) == "":
		return "", fmt.Errorf("exit code %d: %s", exit.ExitCode(), short(text))
	}
	return fmt.Sprintf("exit %d: %s", exit.ExitCode(), short(text)), nil
}

// checked is an attack by the text of a file that `weir check` reads.
func checked(kind, name, config, rules string) Attack {
	return Attack{kind, name, func(ctx context.Context, t Target) (string, error) {
		dir, err := os.MkdirTemp(t.Dir, "check")
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
			return "", err
		}
		file := filepath.Join(dir, "weir.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return "", err
		}
		return command(ctx, t, "check", file)
	}}
}

// configs are bad config files.
func configs() (all []Attack) {
	for name, text := range map[string]string{
		"unknown field": "htpp: x", "wrong type": "shards: many", "negative": "shards: -1", "zero": "shards: 0", "huge": "shards: 99999999999999999999", "float": "shards: 1.5",
		"list for a map": "windows: [1]", "tab": "\thttp: x", "bad address": "http: nowhere", "bad port": "http: 127.0.0.1:99999", "bad duration": "collect: {ack_timeout: 10}",
		"negative duration": "collect: {ack_timeout: -1s}", "duplicate key": "shards: 8\nshards: 9", "anchor bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]",
		"deep": strings.Repeat("[", 100_000), "NUL": "http: \x00", "binary": "\x7fELF\x02\x01", "tiers that do not divide": "windows: {tiers: [{size: 10s, grace: 2s, ttl: 1d}, {size: 25s, grace: 2s, ttl: 1d}]}",
		"no tier": "windows: {tiers: []}", "grace below 0": "windows: {tiers: [{size: 10s, grace: -1s, ttl: 1d}]}", "receiver of no kind": "notify: {receivers: [{name: a}]}",
		"receiver of two kinds": "notify: {receivers: [{name: a, console: {}, webhook: {url: 'http://127.0.0.1/'}}]}", "two of one name": "notify: {receivers: [{name: a, console: {}}, {name: a, console: {}}]}",
		"secret of no file": "notify: {receivers: [{name: a, webhook: {url: 'http://127.0.0.1/', bearer_token: {file: nothing}}}]}", "secret of no variable": "notify: {receivers: [{name: a, webhook: {url: 'http://127.0.0.1/', bearer_token: {env: WEIR_NO_SUCH}}}]}",
		"URL of another kind": "notify: {receivers: [{name: a, webhook: {url: 'file:///etc/passwd'}}]}", "rules that are not there": "rules: [nothing.yaml]", "rules in a device": "rules: [/dev/zero]",
		"secret in a device": "notify: {receivers: [{name: a, webhook: {url: 'http://127.0.0.1/', bearer_token: {file: /dev/zero}}}]}", "rules in a folder": "rules: [/]",
		"broker without a port": "brokers: [kafka]", "routing key of 3": "notify: {receivers: [{name: a, pagerduty: {routing_key: abc}}]}", "two documents": "shards: 8\n---\nshards: 9",
	} {
		all = append(all, checked("config", name, text, ""))
	}
	for _, device := range []string{"/dev/zero", "/dev/null", "/", "nothing.yaml"} {
		all = append(all, Attack{"config", "check " + device, func(ctx context.Context, t Target) (string, error) { return command(ctx, t, "check", device) }})
	}
	return all
}

// rules are bad rules.
func rules() (all []Attack) {
	const config = "rules: [rules.yaml]\n"
	for name, text := range map[string]string{
		"empty file": "", "comments": "# nothing", "groups of nothing": "groups:", "cut": "groups:\n- name: a\n  rules:\n  - alert: b\n    ex", "no groups": "rules: 1", "binary": "\x00\x01\x02",
		"unknown field": "groups: [{name: a, rules: [{alert: b, expr: 'x > 1', when: now}]}]", "same name twice": "groups: [{name: a, rules: [{alert: b, expr: 'x > 1'}, {alert: b, expr: 'x > 2'}]}]",
		"no name": "groups: [{name: a, rules: [{expr: 'x > 1'}]}]", "no expr": "groups: [{name: a, rules: [{alert: b}]}]", "for below 0": "groups: [{name: a, rules: [{alert: b, expr: 'x > 1', for: -5m}]}]",
	} {
		all = append(all, checked("rule", name, config, text))
	}
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	for _, expr := range []string{
		"", "x >", "x > 'a'", "x", "1", "\"a\"", "x > 1 and", "$env", "$env.x > 1", "len($env) > 0", "foo(x) > 1", "avg(x) > 1", `avg(x, 5) > 1`, `avg(x, "5 m") > 1`, `avg(x, "0s") > 1`, `avg(x, "-5m") > 1`,
		`avg(x, "100y") > 1`, `avg("x", "5m") > 1`, "let y = 1; y > 0", "map([1], # > 0)", "filter(1..1000000000, true) == []", "1..1000000000 == []", "x > 1 ? true : 1",
		`"a" matches "(a+)+$"`, `repeat("x", 1000000000) == ""`, strings.Repeat("(", 10_000) + "x" + strings.Repeat(")", 10_000) + " > 1", "x > " + strings.Repeat("9", 5000),
		strings.Repeat("x + ", 20_000) + "x > 1", "x > 1; y > 1", "x = 1", "x > 1 || panic()", "get(x, 1)", "x[0] > 1", "x.y() > 1", "{a: 1}", "[x > 1]", "nil == x", "x > nil", "now() > x", "toJSON(x) == ''",
	} {
		all = append(all, checked("expression", short(expr), config, "groups: [{name: a, rules: [{alert: b, expr: "+quote(expr)+"}]}]"))
	}
	for _, text := range []string{
		`{{ printf "%200000000d" 1 }}`, `{{ printf "%.200000000f" 1.0 }}`, `{{ printf "%*d" 200000000 1 }}`, `{{ range $i := 1000000000 }}x{{ end }}`, `{{ .Nothing }}`, `{{ nothing }}`, `{{`, `{{ end }}`, `{{ if }}`,
		`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, `{{ call .Value }}`, `{{ .Labels.host.x.y }}`, `{{ index .Labels 1 }}`, `{{ slice .Labels.host 5 1 }}`, strings.Repeat("x", 5<<20),
		`{{ $a := "xxxxxxxxxx" }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a = print $a $a $a $a $a $a $a $a $a $a }}{{ $a }}`,
	} {
		all = append(all, checked("template", short(text), config, "groups: [{name: a, rules: [{alert: b, expr: 'x > 1', annotations: {summary: "+quote(text)+"}}]}]"))
	}
	return all
}

// flags are bad command lines.
func flags() (all []Attack) {
	for _, line := range []string{
		"", "nothing", "run --nothing", "run --roles", "run --roles nothing", "run --roles route,,window", "run --http nowhere", "run --http 127.0.0.1:99999", "run --brokers nowhere", "run --config nothing.yaml",
		"run extra", "fold nothing.csv", "fold --grace -1s /dev/null", "fold --grace x /dev/null", "fold --precision x /dev/null", "replay", "replay nothing.csv", "replay --to http://127.0.0.1:1 --brokers 127.0.0.1:1 nothing.csv",
		"reshard --shards 0", "reshard --shards -1", "reshard --shards x", "reshard --shards 99999999", "shards --most -1 --brokers 127.0.0.1:1", "shards --most NaN --brokers 127.0.0.1:1", "top --limit -1", "top --by evil",
		"check --nothing", "check", "--log-level loud run", "--log-format xml run", "agent --to ftp://127.0.0.1", "agent extra",
	} {
		all = append(all, Attack{"flag", "weir " + line, func(ctx context.Context, t Target) (string, error) {
			return command(ctx, t, strings.Fields(line)...)
		}})
	}
	return all
}
