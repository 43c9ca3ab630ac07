package job_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// FuzzRetention reads any time: what is accepted is within its bounds, and is written as it is read.
func FuzzRetention(f *testing.F) {
	for _, seed := range []string{"90m", "7d", "4095d", "-1s", "1h2m3.5s", "9223372036s", "0"} {
		f.Add(seed, int64(30*24*time.Hour))
	}
	f.Add("3650d", int64(0))
	f.Fuzz(func(t *testing.T, value string, longest int64) {
		if p, err := job.ParsePeriod(value); err == nil {
			if again, err := job.ParsePeriod(p.String()); err != nil || again != p {
				t.Errorf("ParsePeriod(%q) = %v, which is read as %v, %v", value, p, again, err)
			}
		}
		c := job.RetentionConfig{Video: job.Period(24 * time.Hour), MP3: job.Period(longest)}
		if c.Validate() != nil {
			return
		}
		r, err := c.Parse(url.Values{job.RetentionField: {value}})
		if err != nil {
			return
		}
		if r.MP3 < 1 || r.Video < 1 || r.Video > r.MP3 || longest > 0 && r.MP3 > longest/int64(time.Second) {
			t.Errorf("Parse(%q) = %+v of %v at most", value, r, c.MP3)
		}
	})
}

// FuzzQuotas reads any limits: what is accepted bounds something.
func FuzzQuotas(f *testing.F) {
	f.Add("default bytes=50G jobs=200 uploads=20 minutes=1440; admin")
	f.Add("a bytes=10000000T")
	f.Add(";a bytes=1Mk jobs=-1;=")
	f.Fuzz(func(t *testing.T, text string) {
		var q job.Quotas
		if q.UnmarshalText([]byte(text)) != nil {
			return
		}
		for group, l := range q {
			if l.Bytes < 0 || l.Jobs < 0 || l.Uploads < 0 || l.Minutes < 0 {
				t.Errorf("UnmarshalText(%q) = %+v of %q", text, l, group)
			}
		}
	})
}

// FuzzParseWebhook reads any address: one that is accepted can be posted to, and what is shown of it has no secret.
func FuzzParseWebhook(f *testing.F) {
	f.Add("https://example.com/hook?key=1", hookSecret)
	f.Add("http://[2001:db8::1]:8443/%2f#x", "whsec_"+base64of(24))
	f.Add("https://a:b@example.com:80", "")
	f.Fuzz(func(t *testing.T, address, secret string) {
		w, err := job.ParseWebhook(url.Values{"webhook": {address}, "webhook_secret": {secret}})
		if err != nil {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL, nil)
		if err != nil || r.URL.User != nil || r.URL.Host == "" {
			t.Fatalf("%q cannot be posted to: %v", w.URL, err)
		}
		if key, err := job.Key(w.Secret); err != nil || len(key) < 24 {
			t.Errorf("the key has %d bytes, %v", len(key), err)
		}
		shown, err := json.Marshal(w)
		u, bad := url.Parse(w.String())
		if err != nil || bad != nil || u.RawQuery != "" || u.Fragment != "" || u.Host != r.URL.Host {
			t.Errorf("%q is shown as %s, %v, %v", w.URL, shown, err, bad)
		}
	})
}
