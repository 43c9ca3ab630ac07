package broker

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
)

func TestIngress(t *testing.T) {
	t.Parallel()
	structured := `{"specversion":"1.0","id":"1","source":"/s","type":"a.x","data":{}}`
	binary := []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "a.x"}
	tests := []struct {
		name, method, body string
		header             []string
		publish            func(event.Event) error
		want               int
		diary              []string
	}{
		{name: "binary", method: "POST", header: binary, want: 202, diary: []string{"publish 1"}},
		{name: "structured", method: "POST", header: []string{"Content-Type", "application/cloudevents+json"},
			body: structured, want: 202, diary: []string{"publish 1"}},
		{name: "batch", method: "POST", header: []string{"Content-Type", "application/cloudevents-batch+json"}, body: "[]",
			want: 415},
		{name: "no event", method: "POST", body: "x", want: 400},
		{name: "too large", method: "POST", header: binary, body: strings.Repeat("x", eventing.MaxEvent+1), want: 413},
		{name: "GET", method: "GET", want: 405},
		{name: "queue away", method: "POST", header: binary, publish: func(event.Event) error { return errors.New("away") },
			want: 503},
		{name: "cannot be carried", method: "POST", header: binary,
			publish: func(event.Event) error { return eventing.Reject(errors.New("too long")) }, want: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := &fakeQueue{publish: tt.publish}
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			w := httptest.NewRecorder()
			Ingress(q).ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("%s = %d %s, want %d", tt.method, w.Code, w.Body, tt.want)
			}
			if (w.Code == http.StatusServiceUnavailable) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
			if diff := cmp.Diff(tt.diary, q.diary); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
		})
	}
}
