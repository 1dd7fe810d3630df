package connect

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-metrics/weir/schemas/dial"
)

// Kafka is a cluster and how to reach it. A nil Kafka adds nothing to a client's options. It is
// safe for concurrent use.
type Kafka struct {
	brokers []string
	cfg     Config
	dialer  *dial.Dialer
	tokens  tokens
}

// New returns the cluster of the brokers, host:port each.
func New(brokers []string, cfg Config) *Kafka {
	return &Kafka{brokers: brokers, cfg: cfg, dialer: &dial.Dialer{What: "Kafka", TLS: cfg.TLS}, tokens: tokens{sasl: &cfg.SASL}}
}

// Brokers are the seeds, host:port each.
func (k *Kafka) Brokers() []string { return k.brokers }

// Options are those that every client of franz-go has.
func (k *Kafka) Options() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(k.brokers...), kgo.ClientID("weir")}, k.Access()...)
}

// Access returns the options without the seeds: how to dial a broker, and who weir is.
func (k *Kafka) Access() []kgo.Opt {
	if k == nil {
		return nil
	}
	opts := []kgo.Opt{kgo.Dialer(k.dialer.DialContext)}
	if m := k.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts
}

// mechanism returns franz-go's, or nil. Secrets are read at each use.
func (k *Kafka) mechanism() sasl.Mechanism {
	s := &k.cfg.SASL
	login := func(context.Context) (scram.Auth, error) {
		password, err := s.Password.Reveal()
		if err != nil {
			return scram.Auth{}, fmt.Errorf("kafka.sasl.password: %w", err)
		}
		return scram.Auth{User: s.Username, Pass: password}, nil
	}
	switch s.Mechanism {
	case plainText:
		return plain.Plain(func(ctx context.Context) (plain.Auth, error) {
			a, err := login(ctx)
			return plain.Auth{User: a.User, Pass: a.Pass}, err
		})
	case scram256:
		return scram.Sha256(login)
	case scram512:
		return scram.Sha512(login)
	case oauthBearer:
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := k.tokens.token(ctx)
			return oauth.Auth{Token: token}, err
		})
	default:
		return nil
	}
}

// Sarama changes the options of a sarama client as Access does those of franz-go. It returns an
// error that names a secret that cannot be read.
func (k *Kafka) Sarama(cfg *sarama.Config) error {
	if k == nil {
		return nil
	}
	// The dialer does TLS, so that all clients do it in the same way.
	cfg.Net.Proxy.Enable, cfg.Net.Proxy.Dialer = true, k.dialer
	s := &k.cfg.SASL
	if s.Mechanism == "" {
		return nil
	}
	cfg.Net.SASL.Enable, cfg.Net.SASL.Handshake, cfg.Net.SASL.Version = true, true, sarama.SASLHandshakeV1
	cfg.Net.SASL.Mechanism = sarama.SASLMechanism(s.Mechanism)
	switch s.Mechanism {
	case oauthBearer:
		cfg.Net.SASL.TokenProvider = provider{&k.tokens}
	case scram256, scram512:
		cfg.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{mechanism: k.mechanism()} }
		fallthrough
	default:
		password, err := s.Password.Reveal()
		if err != nil {
			return fmt.Errorf("kafka.sasl.password: %w", err)
		}
		cfg.Net.SASL.User, cfg.Net.SASL.Password = s.Username, password
	}
	return nil
}

// scramClient is franz-go's SCRAM for sarama.
type scramClient struct {
	mechanism sasl.Mechanism
	session   sasl.Session
	first     []byte
	done      bool
}

// Begin implements sarama.SCRAMClient. The user and password that it gets were read when the client
// was made, so it reads them again.
func (c *scramClient) Begin(_, _, _ string) (err error) {
	c.session, c.first, err = c.mechanism.Authenticate(context.Background(), "")
	return err
}

// Step implements sarama.SCRAMClient.
func (c *scramClient) Step(challenge string) (string, error) {
	if c.first != nil {
		first := c.first
		c.first = nil
		return string(first), nil
	}
	done, answer, err := c.session.Challenge([]byte(challenge))
	c.done = done
	return string(answer), err
}

// Done implements sarama.SCRAMClient.
func (c *scramClient) Done() bool { return c.done }

type provider struct{ tokens *tokens }

// Token implements sarama.AccessTokenProvider.
func (p provider) Token() (*sarama.AccessToken, error) {
	token, err := p.tokens.token(context.Background())
	if err != nil {
		return nil, err
	}
	return &sarama.AccessToken{Token: token}, nil
}
