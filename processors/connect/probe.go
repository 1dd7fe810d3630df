package connect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/consume"
)

// probeWithin bounds each of the steps of Probe: a connection, an answer, a login.
const probeWithin = 3 * time.Second

// Probe returns nil once one of the brokers answers as Kafka does and accepts weir's credentials,
// or, within 3 * probeWithin, an error that tells what is wrong with each.
func (k *Kafka) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*probeWithin)
	defer cancel()
	errs := make([]error, len(k.brokers))
	var all sync.WaitGroup
	for i, addr := range k.brokers {
		all.Go(func() {
			if errs[i] = k.probe(ctx, addr); errs[i] == nil {
				cancel() // one is enough
			}
		})
	}
	all.Wait()
	var texts []string
	for _, err := range errs {
		if err == nil {
			return nil
		}
		texts = append(texts, err.Error())
	}
	if len(texts) == 1 {
		return errs[0]
	}
	return fmt.Errorf("no broker can be used: %s", strings.Join(texts, "; "))
}

func (k *Kafka) probe(ctx context.Context, addr string) error {
	if err := k.speaksKafka(ctx, addr); err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(k.Access(), kgo.SeedBrokers(addr), kgo.ClientID("weir"), kgo.RequestRetries(0), kgo.RetryTimeout(probeWithin))...)
	if err != nil {
		return fmt.Errorf("Kafka at %s: %w", addr, err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	switch err := cl.Ping(ctx); {
	case err == nil:
		return nil
	case k.cfg.SASL.Mechanism == "" && closed(err):
		return fmt.Errorf("Kafka at %s: the broker closes the connection after the first request: does it require a login (kafka.sasl)?: %w", addr, err)
	case k.cfg.SASL.Mechanism != "":
		return fmt.Errorf("Kafka at %s: login by %s%s: %w", addr, k.cfg.SASL.Mechanism, k.as(), err)
	default:
		return fmt.Errorf("Kafka at %s: %w", addr, err)
	}
}

// Explain adds to an error about a denial by Kafka's ACLs who was denied, and returns every other
// error unchanged.
func (k *Kafka) Explain(err error) error {
	if !consume.Denied(err) && !errors.Is(err, sarama.ErrTopicAuthorizationFailed) && !errors.Is(err, sarama.ErrGroupAuthorizationFailed) &&
		!errors.Is(err, sarama.ErrClusterAuthorizationFailed) {
		return err
	}
	var who string
	switch {
	case k.cfg.SASL.Username != "":
		who = fmt.Sprintf("the user %q", k.cfg.SASL.Username)
	case k.cfg.SASL.Mechanism == oauthBearer:
		who = "the token's user"
	case k.cfg.TLS.CertFile != "":
		who = "the user of " + k.cfg.TLS.CertFile
	default:
		who = "nobody in particular (kafka.sasl, kafka.tls.cert_file)"
	}
	return fmt.Errorf("%w (denied to %s; docs/security.md lists the rights of each role)", err, who)
}

func (k *Kafka) as() string {
	if k.cfg.SASL.Username == "" {
		return ""
	}
	return fmt.Sprintf(" as %q", k.cfg.SASL.Username)
}

// apiVersions is a request that every broker answers, before any login: ApiVersions, version 0.
var apiVersions = []byte{0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 7, 0, 4, 'w', 'e', 'i', 'r'}

// speaksKafka tells a broker from servers of other kinds.
func (k *Kafka) speaksKafka(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*probeWithin)
	defer cancel()
	dialer := k.dialer
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(probeWithin)); err != nil {
		return err
	}
	if _, err = c.Write(apiVersions); err == nil {
		var head [8]byte // the length, and what was sent as 7
		_, err = io.ReadFull(c, head[:])
		if err == nil && binary.BigEndian.Uint32(head[4:]) == 7 && head[0] == 0 {
			return nil
		}
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("Kafka at %s: the server there %s", addr, speaks(head[:]))
		}
	}
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("Kafka at %s: the connection is open, but nothing answers within %v: is it Kafka's port%s?", addr, probeWithin, k.orTLS())
	case closed(err):
		return fmt.Errorf("Kafka at %s: the server there closes the connection: is it Kafka's port%s?", addr, k.orTLS())
	default:
		return fmt.Errorf("Kafka at %s: %w", addr, k.cfg.TLS.Explain(err))
	}
}

// orTLS adds what else may be wrong for a client without TLS.
func (k *Kafka) orTLS() string {
	if k.cfg.TLS.On() {
		return ""
	}
	return ", and does it require TLS (kafka.tls)"
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "closed the connection")
}

// speaks tells what an answer is that is not Kafka's.
func speaks(begin []byte) string {
	switch {
	case begin[0] == 0x15 && begin[1] == 3: // an alert of TLS
		return "speaks TLS: kafka.tls must be set"
	case strings.HasPrefix(string(begin), "HTTP/"):
		return "speaks HTTP, not Kafka's protocol"
	default:
		return "does not speak Kafka's protocol"
	}
}
