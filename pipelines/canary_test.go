package pipelines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/processors/connect"
)

// TestCanary puts a secret into every field that holds one, makes everything that uses them fail, and looks for the secret in all
// output.
func TestCanary(t *testing.T) {
	const canary = "canary-7d1f/+ä"
	dir := t.TempDir()
	secret := write(t, dir, "secret", canary+"\n")
	config := fmt.Sprintf(`
brokers: [127.0.0.1:1]
kafka:
  tls: {enabled: true}
  sasl: {mechanism: SCRAM-SHA-512, username: weir, password: {file: %[1]s}}
cql: {hosts: [127.0.0.1:1], username: weir, password: "%[2]s", timeout: 200ms, tls: {enabled: true}}
web: {bearer_tokens: {agents: "%[2]s-long-enough"}, roles: {agents: [write]}}
notify:
  receivers:
  - name: hook
    webhook:
      url: http://127.0.0.1:1/x?token=%[3]s
      bearer_token: |
        %[2]s
  - name: pd
    pagerduty: {routing_key: {file: %[1]s}}
  - name: phone
    twilio: {account_sid: AC00000000000000000000000000000000, auth_token: {file: %[1]s}, from: "+15005550006", to: ["+15005550009"]}
`, secret, canary, "canary-7d1f")
	var said []string
	say := func(args ...any) { said = append(said, fmt.Sprintln(args...)) }

	c, _, err := Load(write(t, dir, "weir.yaml", config))
	if err != nil {
		// routing_key has a form of its own, which the canary has not.
		say(err)
	} else {
		say(fmt.Sprintf("%v %+v %#v", c.Kafka, c.CQL, c.Notify), c.Warnings())
	}
	for _, wrong := range []string{
		"kafka: {sasl: {mechanism: PLAIN, username: u, password: [" + canary + "]}}",
		"kafka: {sasl: {mechanism: PLAIN, username: u, password: *" + "canary-7d1f}}",
		"kafka: {sasl: {passwrd: " + canary + "}}",
		"kafka: {sasl: {mechanism: OAUTHBEARER, token_url: 'https://u:" + "canary-7d1f" + "@h/', client_id: i, client_secret: s}}",
		"notify: {receivers: [{name: h, webhook: {url: 'http://u:canary-7d1f@127.0.0.1:x/'}}]}",
		"notify: {receivers: [{name: h, webhook: {url: 'ftp://u:canary-7d1f@h/?api_key=canary-7d1f'}}]}",
		"notify: {external_url: 'http://u:canary-7d1f@h:x/'}",
		"cql: {username: u, password: {file: " + filepath.Join(dir, "none") + "}}",
	} {
		_, _, err := Load(write(t, dir, "wrong.yaml", wrong))
		if err == nil {
			t.Errorf("no fault in %s", wrong)
		}
		say(err)
	}
	password := conf.SecretFile(secret)
	if _, err := password.Reveal(); err != nil {
		t.Fatal(err)
	}
	// What libraries would say of what they were given.
	for _, text := range []string{
		"dial http://u:" + canary + "@h/", `Post "http://h/?token=canary-7d1f": EOF`, "401 for Bearer canary-7d1f/x", fmt.Sprintf("%q", canary), "user weir, " + canary,
	} {
		say(conf.Mask(text))
		h := &Health{}
		h.stopped(h.add("role", "starting"), errors.New(text).Error())
		say(h.NotReady())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	say(connect.New([]string{"127.0.0.1:1"}, loaded(t, dir, secret).Kafka).Probe(ctx))
	for _, text := range said {
		if strings.Contains(text, "canary-7d1f") {
			t.Errorf("the secret shows: %s", text)
		}
	}
	if len(said) < 15 {
		t.Errorf("%d texts", len(said))
	}
	info, err := os.Stat(secret)
	if err != nil || info.Mode().Perm()&0o077 != 0 && password.Warning() == "" {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func loaded(t *testing.T, dir, secret string) *Config {
	t.Helper()
	c, _, err := Load(write(t, dir, "kafka.yaml", "kafka: {sasl: {mechanism: PLAIN, username: weir, password: {file: "+secret+"}}}"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
