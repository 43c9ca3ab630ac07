package broker

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestLocal(t *testing.T) {
	t.Parallel()
	client := &http.Client{Transport: Local{
		"echo": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Path", r.URL.Path)
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("X-Late", "yes")
			_, _ = io.Copy(w, r.Body)
		}),
		"silent": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"panics": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("half"))
			panic("x")
		}),
	}}
	tests := []struct {
		url, body  string
		status     int
		path, want string
	}{
		{"http://echo/a", "hello", http.StatusCreated, "/a", "hello"},
		{"http://silent", "hello", http.StatusOK, "", ""},
		{"http://panics", "hello", http.StatusInternalServerError, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			resp, err := client.Post(tt.url, "text/plain", strings.NewReader(tt.body))
			if err != nil {
				t.Fatalf("Post(%q) = %v", tt.url, err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || resp.Header.Get("X-Path") != tt.path || string(body) != tt.want {
				t.Errorf("Post(%q) = %d, %v, %q, %v, want %d, %q, %q", tt.url, resp.StatusCode, resp.Header, body, err, tt.status,
					tt.path, tt.want)
			}
			if resp.Header.Get("X-Late") != "" {
				t.Errorf("Post(%q) has a header that was set too late", tt.url)
			}
		})
	}
	if resp, err := client.Get("http://elsewhere"); err == nil {
		resp.Body.Close()
		t.Error(`Get("http://elsewhere") = nil, want an error`)
	}
}
