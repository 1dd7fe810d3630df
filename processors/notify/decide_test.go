package notify

import (
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

func TestTold(t *testing.T) {
	states := []schemas.AlertState{"", schemas.Inactive, schemas.Pending, schemas.Firing, schemas.Resolved}
	for _, from := range states {
		for _, to := range states {
			want := to == schemas.Firing || from == schemas.Firing && to == schemas.Resolved
			if got := told(schemas.Transition{From: from, To: to}); got != want {
				t.Errorf("%q to %q: told %v, want %v", from, to, got, want)
			}
		}
	}
}

func TestEntryKeepsTheLastAttempts(t *testing.T) {
	d := &schemas.Delivery{Status: schemas.DeliveryFailed}
	for n := range maxAttempts + 3 {
		addAttempt(d, int64(n), unsent+"because")
	}
	if len(d.Attempts) != maxAttempts || d.Attempts[0].AtMS != 3 || d.Attempts[maxAttempts-1].AtMS != maxAttempts+2 {
		t.Errorf("%d attempts, from %d to %d", len(d.Attempts), d.Attempts[0].AtMS, d.Attempts[len(d.Attempts)-1].AtMS)
	}
	if !entryOf(d).unsent {
		t.Error("not recognized as unsent")
	}
	d.Status = schemas.DeliverySubmitted
	if entryOf(d).unsent {
		t.Error("SUBMITTED taken for unsent")
	}
}

func TestConfig(t *testing.T) {
	var file struct {
		Notify Config `yaml:"notify"`
	}
	for _, c := range []struct{ yaml, want string }{
		{"external_url: https://weir.example.org/x/\n  max_age: 2h\n  retry: {max: 1s}\n  concurrency: 1\n  queue: 1", ""},
		{"external_url: weir\n  max_age: 0s\n  retry:\n    initial: -1s\n    max: -2s\n    max_elapsed: 0s\n    retry_after: 0s\n  concurrency: 0\n  queue: 0",
			"f:2: notify.external_url: \"weir\": must be an http or https URL\nf:3: notify.max_age: \"0s\": must be more than 0s\n" +
				"f:5: notify.retry.initial: \"-1s\": must be more than 0s\nf:6: notify.retry.max: \"-2s\": must be at least retry.initial, -1s\n" +
				"f:7: notify.retry.max_elapsed: \"0s\": must be more than 0s\nf:8: notify.retry.retry_after: \"0s\": must be more than 0s\n" +
				"f:9: notify.concurrency: \"0\": must be at least 1\nf:10: notify.queue: \"0\": must be at least 1"},
		{"retry: {initial: 2s, max: 1s}", "f:2: notify.retry.max: \"1s\": must be at least retry.initial, 2s"},
	} {
		file.Notify = Default()
		d := conf.Parse("f", []byte("notify:\n  "+c.yaml), &file)
		file.Notify.Validate("notify", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.yaml, got, c.want)
		}
		if c.want == "" && (file.Notify.ExternalURL != "https://weir.example.org/x" || file.Notify.MaxAge.Std() != 2*time.Hour) {
			t.Errorf("read %+v", file.Notify)
		}
	}
}
