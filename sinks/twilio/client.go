package twilio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	twilioclient "github.com/twilio/twilio-go/client"

	"github.com/weir-metrics/weir/sinks"
)

// client is the transport under twilio-go for one call. The library's own ignores contexts, leaves
// the bodies of errors open and loses Retry-After.
type client struct {
	ctx            context.Context
	http           *http.Client
	base           string
	account, token string
	status         int // of the last answer that was a 2xx
}

var _ twilioclient.BaseClient = (*client)(nil)

// AccountSid implements twilioclient.BaseClient.
func (c *client) AccountSid() string { return c.account }

// SetTimeout implements twilioclient.BaseClient; the timeout is the config's.
func (c *client) SetTimeout(time.Duration) {}

// SetOauth implements twilioclient.BaseClient; weir signs in with the token.
func (c *client) SetOauth(twilioclient.OAuth) {}

// OAuth implements twilioclient.BaseClient.
func (c *client) OAuth() twilioclient.OAuth { return nil }

// SendRequest implements twilioclient.BaseClient. It sends the path of rawURL to
// the configured address, and returns a *sinks.DeliveryError for all but a 2xx.
func (c *client) SendRequest(method, rawURL string, data url.Values, headers map[string]any, _ ...byte) (*http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(c.ctx, method, strings.TrimSuffix(c.base, "/")+u.Path, strings.NewReader(data.Encode()))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		req.Header.Set(name, fmt.Sprint(value))
	}
	req.Header.Set("User-Agent", "weir twilio-go/"+twilioclient.LibraryVersion)
	req.SetBasicAuth(c.account, c.token)
	a, err := sinks.Exchange(c.http, req, c.token)
	if err != nil {
		return nil, err
	}
	c.status = a.Status
	return &http.Response{
		StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), Request: req,
	}, nil
}
