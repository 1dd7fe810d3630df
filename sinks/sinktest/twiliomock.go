package sinktest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"
	"unicode/utf8"
)

// Twilio is a mock of the Messages resource of Twilio's API of 2010. Beyond the API description it
// requires From and Body, and E.164 in both numbers, which a mock made from the description alone
// does not. Like the real API it sends every message that it accepts: there is no idempotency key.
type Twilio struct {
	mock
	accountSID, token string
	messages          []TwilioMessage
}

// TwilioMessage is a message that was accepted.
type TwilioMessage struct {
	SID, From, To, Body string
}

// NewTwilio starts a mock with one account. It stops with the test.
func NewTwilio(tb testing.TB, accountSID, token string) *Twilio {
	t := &Twilio{accountSID: accountSID, token: token}
	t.start(tb, t)
	return t
}

// Messages returns the messages that were accepted, in order.
func (t *Twilio) Messages() []TwilioMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]TwilioMessage(nil), t.messages...)
}

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{1,14}$`)

func (t *Twilio) check(r *http.Request, body []byte) ([]string, answer) {
	if r.URL.Path != "/2010-04-01/Accounts/"+t.accountSID+"/Messages.json" {
		return refuse(http.StatusNotFound, 20404, "The requested resource "+r.URL.Path+" was not found")
	}
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, 20004, "Method not allowed")
	}
	if user, password, ok := r.BasicAuth(); !ok || user != t.accountSID || password != t.token {
		return refuse(http.StatusUnauthorized, 20003, "Authenticate")
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
		return refuse(http.StatusUnsupportedMediaType, 20001, fmt.Sprintf("Content-Type is %q", got))
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return refuse(http.StatusBadRequest, 20001, "the body is no form: "+err.Error())
	}
	return checkMessage(form)
}

func checkMessage(form url.Values) ([]string, answer) {
	for name, values := range form {
		if name != "To" && name != "From" && name != "Body" {
			return refuse(http.StatusBadRequest, 20001, "a parameter that weir does not send: "+name)
		}
		if len(values) != 1 {
			return refuse(http.StatusBadRequest, 20001, fmt.Sprintf("%s is given %d times", name, len(values)))
		}
	}
	to, from, body := form.Get("To"), form.Get("From"), form.Get("Body")
	switch {
	case to == "":
		return refuse(http.StatusBadRequest, 21604, "A 'To' phone number is required.")
	case !e164.MatchString(to):
		return refuse(http.StatusBadRequest, 21211, "Invalid 'To' Phone Number: "+to)
	case from == "":
		return refuse(http.StatusBadRequest, 21603, "A 'From' phone number is required.")
	case !e164.MatchString(from):
		return refuse(http.StatusBadRequest, 21212, "Invalid From Number: "+from)
	case body == "":
		return refuse(http.StatusBadRequest, 21602, "Message body is required.")
	case !utf8.ValidString(body):
		return refuse(http.StatusBadRequest, 21602, "Message body is not UTF-8.")
	case utf8.RuneCountInString(body) > 1600:
		return refuse(http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit.")
	}
	return nil, answer{}
}

// refuse returns an error as Twilio writes it.
func refuse(status, code int, message string) ([]string, answer) {
	return []string{message}, answer{status, mustJSON(map[string]any{
		"code": code, "message": message, "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), "status": status,
	})}
}

func (t *Twilio) accept(r *http.Request, body []byte) answer {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		panic(err) // check parsed it
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", len(t.messages), body))
	m := TwilioMessage{SID: "SM" + hex.EncodeToString(sum[:16]), From: form.Get("From"), To: form.Get("To"), Body: form.Get("Body")}
	t.messages = append(t.messages, m)
	now := time.Now().UTC().Format(time.RFC1123Z)
	uri := "/2010-04-01/Accounts/" + t.accountSID + "/Messages/" + m.SID
	return answer{http.StatusCreated, mustJSON(map[string]any{
		"account_sid": t.accountSID, "api_version": "2010-04-01", "body": m.Body,
		"date_created": now, "date_sent": nil, "date_updated": now, "direction": "outbound-api",
		"error_code": nil, "error_message": nil, "from": m.From, "messaging_service_sid": nil,
		"num_media": "0", "num_segments": fmt.Sprint(1 + utf8.RuneCountInString(m.Body)/153), "price": nil, "price_unit": "USD",
		"sid": m.SID, "status": "queued", "subresource_uris": map[string]string{"media": uri + "/Media.json"},
		"to": m.To, "uri": uri + ".json",
	})}
}
