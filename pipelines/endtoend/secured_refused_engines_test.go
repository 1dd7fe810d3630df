//go:build engines

package endtoend

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// toldWithin is how soon a process must log what is wrong.
const toldWithin = 20 * time.Second

// tells waits until a line of the process's log contains all texts.
func tells(t *testing.T, w *enginetest.Weir, texts ...string) {
	t.Helper()
	began := time.Now()
	enginetest.Eventually(t, toldWithin, fmt.Sprintf("line with %q", texts), func() error {
		for line := range strings.Lines(w.Log(t)) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				t.Logf("after %v: %s", time.Since(began).Round(10*time.Millisecond), line)
				return nil
			}
		}
		return fmt.Errorf("%d bytes of log", len(w.Log(t)))
	})
	if strings.Contains(w.Log(t), "hush-") {
		t.Errorf("a secret is in the log of %s", w.Name)
	}
}

// testRefused: a process that is not let in logs that, and the setting at fault; and a process that lacks a right of
// Cassandra's names it.
func (s *secured) testRefused(t *testing.T) {
	other := enginetest.NewAuthority(t)
	other.Sign(t, "stranger")
	ca, cert, key := s.CA.Path("ca.pem"), s.CA.Path("client.pem"), s.CA.Path("client.key")
	s.file(t, "wrong", "hush-wrong")
	s.CQL(t, `CREATE ROLE "reads" WITH PASSWORD = 'hush-of-reads' AND LOGIN = true; GRANT SELECT ON KEYSPACE weir TO "reads";
		CREATE ROLE "writes" WITH PASSWORD = 'hush-of-writes' AND LOGIN = true; GRANT MODIFY ON KEYSPACE weir TO "writes";`)
	s.file(t, "reads", password("reads"))
	s.file(t, "writes", password("writes"))
	kafka := func(addr, tls, sasl string) string {
		return fmt.Sprintf("brokers: [%q]\nkafka: {tls: {%s}, sasl: {%s}}\n", addr, tls, sasl)
	}
	login := func(mechanism, user, file string) string {
		return fmt.Sprintf("mechanism: %s, username: %s, password: {file: %q}", mechanism, user, s.dir+"/"+file)
	}
	cql := func(tls, user, file string) string {
		return s.kafka(t, "store") + fmt.Sprintf("cql: {hosts: [%q], timeout: 2s, tls: {%s}, username: %s, password: {file: %q}}\n", s.CQLAddr, tls, user, s.dir+"/"+file)
	}
	trust, mutual := fmt.Sprintf("ca_file: %q", ca), fmt.Sprintf("ca_file: %q, cert_file: %q, key_file: %q", ca, cert, key)
	for name, c := range map[string]struct {
		config string
		texts  []string
	}{
		"SCRAM, wrong password":  {kafka(s.Login, trust, login("SCRAM-SHA-512", "store", "wrong")), []string{`login by SCRAM-SHA-512 as \"store\"`}},
		"PLAIN, wrong password":  {kafka(s.Login, trust, login("PLAIN", "by-plain", "wrong")), []string{`login by PLAIN as \"by-plain\"`}},
		"no such user":           {kafka(s.Login, trust, login("SCRAM-SHA-256", "nobody", "wrong")), []string{`login by SCRAM-SHA-256 as \"nobody\"`}},
		"no login":               {kafka(s.Login, trust, ""), []string{"kafka.sasl"}},
		"no TLS":                 {kafka(s.Login, "", login("PLAIN", "by-plain", "by-plain")), []string{"kafka.tls"}},
		"another authority":      {kafka(s.Login, fmt.Sprintf("ca_file: %q", other.Path("ca.pem")), login("PLAIN", "by-plain", "by-plain")), []string{"not signed by any authority of ca_file"}},
		"no certificate":         {kafka(s.Certificate, trust, ""), []string{s.Certificate, "requires a client certificate", "cert_file"}},
		"an unknown certificate": {kafka(s.Certificate, fmt.Sprintf("ca_file: %q, cert_file: %q, key_file: %q", ca, other.Path("stranger.pem"), other.Path("stranger.key")), ""), []string{s.Certificate, "refuses the connection", "stranger.pem"}},
		"an invalid token":       {kafka(s.Login, trust, "mechanism: OAUTHBEARER, token: hush-not-a-token"), []string{"login by OAUTHBEARER"}},

		"CQL, wrong password":          {cql(mutual, "store", "wrong"), []string{s.CQLAddr, "store", "incorrect"}},
		"CQL, no TLS":                  {cql("", "store", "store"), []string{s.CQLAddr, "cql.tls"}},
		"CQL, another authority":       {cql(fmt.Sprintf("ca_file: %q", other.Path("ca.pem")), "store", "store"), []string{s.CQLAddr, "not signed by any authority of ca_file"}},
		"CQL, no certificate":          {cql(trust, "store", "store"), []string{s.CQLAddr, "certificate"}},
		"CQL, no right to read":        {cql(mutual, "writes", "writes"), []string{"writes has no SELECT permission"}},
		"CQL, no right to write":       {cql(mutual, "reads", "reads"), []string{"reads has no MODIFY permission", "metrics_"}},
		"CQL, no right to make tables": {cql(mutual+"}, keyspace: other, local_dc: \"\", replication: {replication_factor: 1", "reads", "reads"), []string{"reads has no CREATE permission", "keyspace"}},
	} {
		t.Run(name, func(t *testing.T) {
			tells(t, enginetest.RunOn(t, "refused", s.common(t)+c.config, "--roles", "store"), c.texts...)
		})
	}
}

// testMissingRights takes away each right in Kafka, one at a time: within seconds the process logs which one is missing.
func (s *secured) testMissingRights(t *testing.T) {
	table := documented(t)
	users := map[string][]right{}
	type missing struct {
		user string
		right
	}
	cases := map[string][]missing{}
	for _, role := range pipelines.Roles {
		rights := table[role]
		switch role {
		case "window": // one role stands for all to test the rights of every process
			rights = append(slices.Clone(rights), table[everybody]...)
		}
		once := map[string]bool{}
		for i, r := range rights {
			if r.Kind == "group" && r.Name == topics.ConsumerGroupPrefix {
				continue // needed only when another process dies (processors/members)
			}
			if strings.HasPrefix(r.Operation, "DESCRIBE") { // topics.Ensure treats all topics alike, so one of them is enough
				if once[r.Operation+r.Kind] {
					continue
				}
				once[r.Operation+r.Kind] = true
			}
			user := fmt.Sprintf("%s-%d", role, i)
			users[user] = without(s.rights[role], r)
			cases[role] = append(cases[role], missing{user, r})
		}
	}
	s.users(t, users)
	for _, role := range pipelines.Roles {
		s.weirs[role].Stop(t, 30*time.Second)
		for _, c := range cases[role] {
			t.Run(role+" without "+c.right.String(), func(t *testing.T) {
				// For Cassandra, it logs in as before.
				w := enginetest.RunOn(t, c.user, s.configOf(t, c.user, role), "--roles", role)
				defer func() { w.Kill(t); s.leave(t, topics.ConsumerGroupPrefix+role) }()
				if role == "gateway" {
					w.Ready(t, toldWithin)
					postBad(t, w)
				}
				tells(t, w, c.Name, "uthoriz")
			})
		}
		s.weirs[role].Start(t)
		s.weirs[role].Ready(t, time.Minute)
	}
}

// leave removes all members from a group, so that nobody waits for the session of a killed member to end.
func (s *secured) leave(t testing.TB, group string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	adm := kadm.NewClient(s.AdminClient)
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range described[group].Members {
		if m.InstanceID != nil {
			if _, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs(*m.InstanceID)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// feed sends samples that make alerts fire and resolve, and rubbish to every topic, until stop.
func (s *secured) feed(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	start := time.Now().Truncate(10*time.Second).UnixMilli() + 60_000
	go func() {
		defer close(done)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for i := int64(0); ; i++ {
			var samples []schemas.Sample
			for h := range 8 {
				samples = append(samples, schemas.Sample{Series: fleetSeries("load", h), TimeMS: start + 10_000*i, Value: float64(i % 2 * 99)})
			}
			records := []*kgo.Record{{Topic: topics.Metrics, Value: encode(samples)}}
			for _, topic := range []string{topics.Metrics, topics.Samples, topics.Windows, topics.Conditions, topics.Alerts} {
				records = append(records, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("rubbish")})
			}
			if err := s.AdminClient.ProduceSync(ctx, records...).FirstErr(); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// testMechanisms: each way to log in works for both of weir's Kafka clients. The role alert uses franz-go and sarama.
func (s *secured) testMechanisms(t *testing.T) {
	s.CA.Sign(t, "by-cert")
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"by-token","iat":%d,"exp":%d}`, time.Now().Unix()-10, time.Now().Unix()+3600)) + "."
	s.users(t, map[string][]right{"by-scram": s.rights["alert"]})
	s.grant(t, map[string][]right{"by-plain": s.rights["alert"], "by-cert": s.rights["alert"], "by-token": s.rights["alert"]})
	login := func(mechanism, user string) string {
		return fmt.Sprintf("brokers: [%q]\nkafka: {tls: {ca_file: %q}, sasl: {mechanism: %s, username: %s, password: {file: %q}}}\n",
			s.Login, s.CA.Path("ca.pem"), mechanism, user, s.file(t, user, password(user)))
	}
	s.weirs["alert"].Stop(t, 30*time.Second)
	for name, kafka := range map[string]string{
		"PLAIN":         login("PLAIN", "by-plain"),
		"SCRAM-SHA-256": login("SCRAM-SHA-256", "by-scram"),
		"mTLS":          fmt.Sprintf("brokers: [%q]\nkafka: {tls: {ca_file: %q, cert_file: %q, key_file: %q}}\n", s.Certificate, s.CA.Path("ca.pem"), s.CA.Path("by-cert.pem"), s.CA.Path("by-cert.key")),
		"OAUTHBEARER":   fmt.Sprintf("brokers: [%q]\nkafka: {tls: {ca_file: %q}, sasl: {mechanism: OAUTHBEARER, token: {file: %q}}}\n", s.Login, s.CA.Path("ca.pem"), s.file(t, "token", token)),
	} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.RunOn(t, name, s.common(t)+kafka, "--roles", "alert")
			w.Ready(t, 30*time.Second)
			w.Stop(t, 30*time.Second)
			if strings.Contains(w.Log(t), "hush-") || strings.Contains(w.Log(t), token) {
				t.Error("a secret is in the log")
			}
		})
	}
	s.weirs["alert"].Start(t)
	s.weirs["alert"].Ready(t, time.Minute)
}
