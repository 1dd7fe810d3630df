//go:build engines

package endtoend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// secured is a pair of engines that require logins and check rights, with the processes of weir that use them.
type secured struct {
	*enginetest.Secured
	dir    string // holds the passwords
	pager  *sinktest.PagerDuty
	rights map[string][]right          // by user
	weirs  map[string]*enginetest.Weir // by role; each has the rights that it needs
}

// password returns a user's password, which no log may contain.
func password(user string) string { return "hush-of-" + user }

func newSecured(t testing.TB) *secured {
	s := &secured{dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "rules.yaml"), []byte(fleetRules), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Secured = enginetest.Secure(t, map[string]string{"by-plain": password("by-plain")})
	return s
}

// file writes a user's password into a file.
func (s *secured) file(t testing.TB, user, password string) string {
	t.Helper()
	name := filepath.Join(s.dir, user)
	if err := os.WriteFile(name, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// kafka returns the settings brokers and kafka for a user who logs in by SCRAM.
func (s *secured) kafka(t testing.TB, user string) string {
	t.Helper()
	return fmt.Sprintf("brokers: [%q]\nkafka:\n  tls: {ca_file: %q}\n  sasl: {mechanism: SCRAM-SHA-512, username: %s, password: {file: %q}}\n",
		s.Login, s.CA.Path("ca.pem"), user, s.file(t, user, password(user)))
}

// cql returns the section cql for a user.
func (s *secured) cql(t testing.TB, user string) string {
	t.Helper()
	return fmt.Sprintf("cql:\n  hosts: [%q]\n  tls: {ca_file: %q, cert_file: %q, key_file: %q}\n  username: %s\n  password: {file: %q}\n",
		s.CQLAddr, s.CA.Path("ca.pem"), s.CA.Path("client.pem"), s.CA.Path("client.key"), user, s.file(t, user, password(user)))
}

// users creates users of Kafka with their rights.
func (s *secured) users(t testing.TB, rights map[string][]right) {
	t.Helper()
	passwords := map[string]string{}
	for user := range rights {
		passwords[user] = password(user)
	}
	s.Users(t, passwords)
	s.grant(t, rights)
}

// makeTopics creates all topics, as the admin.
func (s *secured) makeTopics(t testing.TB) {
	t.Helper()
	cfg := topics.Default()
	cfg.Shards, cfg.AlertShards, cfg.MetricsPartitions = 2, 2, 2
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := topics.Ensure(ctx, kadm.NewClient(s.AdminClient), topics.All(cfg)); err != nil {
		t.Fatal(err)
	}
}

// config returns the config of a process that logs in to Kafka and Cassandra as the same user.
func (s *secured) config(t testing.TB, user string) string { return s.configOf(t, user, user) }

func (s *secured) configOf(t testing.TB, user, cqlUser string) string {
	t.Helper()
	return s.common(t) + s.kafka(t, user) + s.cql(t, cqlUser)
}

// common returns the settings that all processes share.
func (s *secured) common(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf(`
metrics_partitions: 2
shards: 2
alert_shards: 2
window: {flush: 1s}
alert: {flush: 1s}
canary: {every: 20s}
windows: {max_future: 4h, max_lead: 4h}
rules: [%q]
notify:
  receivers:
  - {name: pager, match: {severity: page}, pagerduty: {routing_key: %q, url: %q, timeout: 5s}}
`, filepath.Join(s.dir, "rules.yaml"), pagerKey, s.pager.URL)
}

// grant gives users rights in Kafka.
func (s *secured) grant(t testing.TB, to map[string][]right) {
	t.Helper()
	req := kmsg.NewPtrCreateACLsRequest()
	for user, rights := range to {
		for _, r := range rights {
			c := kmsg.NewCreateACLsRequestCreation()
			c.ResourceName, c.Principal, c.Host, c.PermissionType = r.Name, "User:"+user, "*", kmsg.ACLPermissionTypeAllow
			c.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
			if r.Prefixed {
				c.ResourcePatternType = kmsg.ACLResourcePatternTypePrefixed
			}
			c.ResourceType = map[string]kmsg.ACLResourceType{"topic": kmsg.ACLResourceTypeTopic, "group": kmsg.ACLResourceTypeGroup}[r.Kind]
			var err error
			if c.Operation, err = kmsg.ParseACLOperation(r.Operation); err != nil {
				t.Fatalf("%s: %v", r, err)
			}
			req.Creations = append(req.Creations, c)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, s.AdminClient)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range resp.Results {
		if result.ErrorCode != 0 {
			t.Fatalf("grant %+v: %v", req.Creations[i], *result.ErrorMessage)
		}
	}
}

// grantCQL creates a user of Cassandra with the grants of a row of docs/security.md.
func (s *secured) grantCQL(t testing.TB, user, row string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| role | grants |\n")
	_, cell, ok := strings.Cut(table, "\n| "+row+" | `")
	cell, _, ends := strings.Cut(cell, "` |\n")
	if !found || !ok || !ends {
		t.Fatalf("docs/security.md has no grants for %s", row)
	}
	statements := fmt.Sprintf("CREATE ROLE %s WITH PASSWORD = '%s' AND LOGIN = true;", user, password(user))
	for grant := range strings.SplitSeq(cell, "`, `") {
		statements += fmt.Sprintf(" GRANT %s TO %s;", grant, user)
	}
	s.CQL(t, statements)
}

// TestSecuredEngines: on a Kafka with SASL_SSL and ACLs and a Cassandra with TLS and grants, each role runs in a
// process of its own, with the rights in docs/security.md and no others.
func TestSecuredEngines(t *testing.T) {
	s := newSecured(t)
	s.fleet(t)
	t.Run("least rights", s.testLeastRights)
	t.Run("mechanisms", s.testMechanisms)
	defer s.feed(t)()
	t.Run("refused", s.testRefused)
	t.Run("missing rights", s.testMissingRights)
	s.used(t)
	s.quiet(t)
}

// commands plans a reshard, whose cut is hours away, lists the shards, and retires a series.
func (s *secured) commands(t *testing.T) {
	config := func(command string) string {
		return s.file(t, userOf(command)+".yaml", s.common(t)+s.kafka(t, userOf(command)))
	}
	enginetest.Interrupted(t, "takes the samples from", "reshard", "--config", config("weir reshard"), "--shards", "4")
	enginetest.Eventually(t, 30*time.Second, "shards", func() error {
		if said := enginetest.Command(t, "shards", "--config", config("weir shards")); !strings.Contains(said, "generation 0: 2 shards") {
			return fmt.Errorf("it printed %s", said)
		}
		return nil
	})
	if said := enginetest.Command(t, "series", "retire", "--config", config("weir series retire"), `{host="nobody"}`); !strings.Contains(said, "written to samples") {
		t.Errorf("weir series retire printed %s", said)
	}
}

// takeover checks that the members' rights on each other's groups suffice to remove a killed member.
func (s *secured) takeover(t *testing.T) {
	killed := s.weirs["store"]
	killed.Kill(t)
	enginetest.Eventually(t, 30*time.Second, "takeover", func() error {
		for _, w := range s.weirs {
			if log := w.Log(t); strings.Contains(log, "took a dead member out of its groups") && strings.Contains(log, "weir-store") {
				return nil
			}
		}
		return errors.New("no process has logged that it took out the killed store")
	})
	killed.Start(t)
	killed.Ready(t, time.Minute)
}

// postBad sends a sample and a bad line to a gateway.
func postBad(t *testing.T, w *enginetest.Weir) {
	t.Helper()
	for _, body := range []string{"load,host=a value=1\n", "rubbish\n"} {
		resp, err := http.Post(w.URL+"/write", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // the answer does not matter here
	}
}

// used checks that docs/security.md lists no right that is never used.
func (s *secured) used(t *testing.T) {
	var all []string
	for role := range s.rights {
		all = append(all, s.Used(t, role)...)
	}
	for role, rights := range s.rights {
		own := s.Used(t, role)
		for _, r := range rights {
			kind, used := strings.ToUpper(r.Kind[:1])+r.Kind[1:], own
			if r.Kind == "group" && r.Name == topics.ConsumerGroupPrefix {
				used = all // it is chance which process removes a dead one from its groups
			}
			if !slices.ContainsFunc(used, func(u string) bool {
				operation, resource, _ := strings.Cut(u, " ")
				name, ok := strings.CutPrefix(resource, kind+":LITERAL:")
				return operation == r.Operation && ok && (name == r.Name || r.Prefixed && strings.HasPrefix(name, r.Name))
			}) {
				t.Errorf("docs/security.md gives %s a right that it does not use: %s", role, r)
			}
		}
	}
}

// quiet checks that no secret was logged.
func (s *secured) quiet(t *testing.T) {
	for _, w := range s.weirs {
		if strings.Contains(w.Log(t), "hush-") {
			t.Errorf("a password is in the log of %s", w.Name)
		}
	}
}

// fleet starts a process for each role, with the rights of docs/security.md.
func (s *secured) fleet(t *testing.T) {
	s.weirs, s.pager = map[string]*enginetest.Weir{}, sinktest.NewPagerDuty(t, pagerKey)
	s.rights = map[string][]right{}
	table := documented(t)
	for _, role := range pipelines.Roles {
		s.rights[role] = append(slices.Clone(table[everybody]), table[role]...)
	}
	users := maps.Clone(s.rights)
	for _, command := range commands {
		users[userOf(command)] = table[command]
	}
	s.users(t, users)
	s.makeTopics(t)
	s.grantCQL(t, "first", "store, the first start")
	first := enginetest.RunOn(t, "first", s.configOf(t, "store", "first"), "--roles", "store")
	first.Ready(t, time.Minute)
	first.Stop(t, 30*time.Second)
	s.grantCQL(t, "store", "store")
	s.grantCQL(t, "query", "query, Grafana, people")
	for _, role := range pipelines.Roles {
		s.weirs[role] = enginetest.RunOn(t, role, s.config(t, role), "--roles", role)
	}
	for _, w := range s.weirs {
		w.Ready(t, time.Minute)
	}
}

func (s *secured) testLeastRights(t *testing.T) {
	start := time.Now().Truncate(10 * time.Second).UnixMilli()
	for i := range int64(4) {
		postOne(t, s.weirs["gateway"].URL, []schemas.Sample{{Series: fleetSeries("load", 1), TimeMS: start + 10_000*i, Value: 99}})
	}
	enginetest.Eventually(t, 30*time.Second, "page", func() error {
		if events := s.pager.Events(); len(events) == 0 || events[0].Action != "trigger" {
			return fmt.Errorf("events: %v", events)
		}
		return nil
	})
	enginetest.Eventually(t, 30*time.Second, "rows", func() error {
		if status, body, err := s.weirs["query"].Get(fmt.Sprintf("/metrics/load?tier=10s&startTimestamp=%d&endTimestamp=%d", start-60_000, start+60_000)); err != nil || !strings.Contains(body, "host001") {
			return fmt.Errorf("%d %s, %v", status, body, err)
		}
		return nil
	})
	s.commands(t)
	s.takeover(t)
	postBad(t, s.weirs["gateway"])
	for _, denied := range s.Denied(t) {
		t.Errorf("a right is missing in docs/security.md, or weir asks for one that it does not need: %s", denied)
	}
}

// without returns rights without one of them, and without those that include it.
func without(all []right, one right) []right {
	return slices.DeleteFunc(slices.Clone(all), func(r right) bool {
		return r.Operation == one.Operation && r.Kind == one.Kind && (r == one || r.Prefixed && strings.HasPrefix(one.Name, r.Name))
	})
}
