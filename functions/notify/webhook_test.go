package notify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/notify"
)

const secret = "0123456789abcdef0123456789abcdef"

func outcome() notify.Outcome {
	return notify.Outcome{
		ID: "65f0/dev.soundstrip.conversion.failed.v1/1",
		Job: job.Job{ID: "65f0", Owner: "anna@example.com", Filename: "talk.mp4", State: job.Failed,
			Error: &eventing.Failure{Code: "no_audio", Message: "the video has no sound"}},
		Links: notify.Links{Home: "https://x/", Job: "https://x/jobs/65f0"},
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	var posts int
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		posts++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := notify.VerifyWebhook([]byte(secret), r.Header.Get(notify.SignatureHeader), body, time.Now(),
			5*time.Minute); err != nil {
			t.Errorf("VerifyWebhook = %v", err)
		}
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		want := map[string]any{
			"id": "65f0/dev.soundstrip.conversion.failed.v1/1", "job_id": "65f0", "username": "anna@example.com",
			"filename": "talk.mp4", "state": "failed",
			"error": map[string]any{"code": "no_audio", "message": "the video has no sound"},
			"links": map[string]any{"job": "https://x/jobs/65f0"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	}))
	defer s.Close()
	c := notify.Webhook(notify.WebhookConfig{URL: s.URL, Secret: secret, Timeout: 10 * time.Second}, s.Client().Transport)
	if err := c.Tell(t.Context(), outcome()); err != nil || posts != 1 {
		t.Errorf("Tell = %v after %d posts", err, posts)
	}
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		200: "taken", 201: "taken", 202: "taken", 204: "taken",
		301: "passing", 302: "passing", 307: "passing", 308: "passing", 401: "passing", 403: "passing", 404: "passing",
		408: "passing", 409: "passing", 429: "passing",
		500: "passing", 502: "passing", 503: "passing", 400: "refused", 410: "refused", 413: "refused", 415: "refused",
		422: "refused",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			posts := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				posts++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			}))
			defer s.Close()
			c := notify.Webhook(notify.WebhookConfig{URL: s.URL, Secret: secret, Timeout: 10 * time.Second},
				s.Client().Transport)
			err := c.Tell(t.Context(), outcome())
			got, refused := "passing", (*notify.RefusedError)(nil)
			switch {
			case err == nil:
				got = "taken"
			case errors.As(err, &refused):
				got = "refused"
			}
			if got != want || posts != 1 {
				t.Errorf("Tell = %v (%s) after %d posts, want %s after one", err, got, posts, want)
			}
		})
	}
}

func TestWebhookAway(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
	defer s.Close()
	defer close(silent)
	c := notify.Webhook(notify.WebhookConfig{URL: s.URL + "/hunter2?key=hunter2", Secret: secret,
		Timeout: 50 * time.Millisecond}, s.Client().Transport)
	err := c.Tell(t.Context(), outcome())
	if err == nil || strings.Contains(err.Error(), "hunter2") || errors.As(err, new(*notify.RefusedError)) {
		t.Errorf("Tell = %v, want a passing error without the address", err)
	}
}

func TestVerifyWebhook(t *testing.T) {
	t.Parallel()
	// Worked out with: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
	const good = "t=1700000000,v1=f05f2539e3ae1c49aec5f8cfdad75ef6b06480b133973ffbb7ec9e18827af177"
	at := time.Unix(1700000000, 0)
	for _, tt := range []struct {
		name, secret, header, body string
		now                        time.Time
		valid                      bool
	}{
		{"valid", secret, good, `{"a":1}`, at, true},
		{"four minutes later", secret, good, `{"a":1}`, at.Add(4 * time.Minute), true},
		{"four minutes earlier", secret, good, `{"a":1}`, at.Add(-4 * time.Minute), true},
		{"too old", secret, good, `{"a":1}`, at.Add(6 * time.Minute), false},
		{"from the future", secret, good, `{"a":1}`, at.Add(-6 * time.Minute), false},
		{"another body", secret, good, `{"a":2}`, at, false},
		{"another secret", "another", good, `{"a":1}`, at, false},
		{"another time", secret, strings.Replace(good, "1700000000", "1700000001", 1), `{"a":1}`, at, false},
		{"cut off", secret, good[:len(good)-2], `{"a":1}`, at, false},
		{"no signature", secret, "t=1700000000,v1=", `{"a":1}`, at, false},
		{"no hex", secret, "t=1700000000,v1=zz", `{"a":1}`, at, false},
		{"no time", secret, strings.Replace(good, "1700000000", "", 1), `{"a":1}`, at, false},
		{"the other way round", secret, good[13:] + ",t=1700000000", `{"a":1}`, at, false},
		{"empty", secret, "", `{"a":1}`, at, false},
	} {
		if err := notify.VerifyWebhook([]byte(tt.secret), tt.header, []byte(tt.body), tt.now,
			5*time.Minute); (err == nil) != tt.valid {
			t.Errorf("%s: VerifyWebhook = %v, want it to be valid: %v", tt.name, err, tt.valid)
		}
	}
}

func FuzzVerifyWebhook(f *testing.F) {
	f.Add("t=1700000000,v1=00", `{"a":1}`)
	f.Fuzz(func(t *testing.T, header, body string) {
		if err := notify.VerifyWebhook([]byte(secret), header, []byte(body), time.Unix(1700000000, 0),
			time.Hour); err == nil {
			t.Errorf("VerifyWebhook(%q, %q) = nil without the secret", header, body)
		}
	})
}

func TestWebhookConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config notify.WebhookConfig
		faults []string
	}{
		{name: "none", config: notify.WebhookConfig{Timeout: time.Second}},
		{name: "none, in no time", faults: []string{"WEBHOOK_TIMEOUT"}},
		{name: "no key", config: notify.WebhookConfig{URL: "https://example.com/hook", Timeout: time.Second,
			Secret: "whsec_" + secret + "?"}, faults: []string{"WEBHOOK_SECRET"}},
		{name: "good", config: notify.WebhookConfig{URL: "https://example.com/hook", Secret: secret, Timeout: time.Second}},
		{name: "bad", config: notify.WebhookConfig{URL: "example.com", Secret: "short"},
			faults: []string{"WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOK_TIMEOUT"}},
		{name: "no address", config: notify.WebhookConfig{URL: "file:///etc/passwd", Secret: secret, Timeout: time.Second},
			faults: []string{"WEBHOOK_URL"}},
	} {
		err := tt.config.Validate()
		if (err != nil) != (tt.faults != nil) {
			t.Errorf("%s: Validate = %v, want %q", tt.name, err, tt.faults)
			continue
		}
		for _, want := range tt.faults {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Validate = %v, want %q in it", tt.name, err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "short") {
			t.Errorf("%s: Validate = %v tells the secret", tt.name, err)
		}
	}
	for value, ok := range map[string]bool{
		"https://x": true, "http://x:8080/": true, "https://x/sound": true, "x": false, "ftp://x": false, "https://": false,
		"https://x?tenant=1": false, "https://x/#top": false, "https://x?": false, // a path is added to it
	} {
		if err := (notify.Config{PublicURL: value}).Validate(); (err == nil) != ok {
			t.Errorf("Validate of PUBLIC_URL %q = %v", value, err)
		}
	}
}
