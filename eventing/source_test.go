package eventing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSourceConfig(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", MinSecret)
	for _, tt := range []struct {
		name   string
		config SourceConfig
		valid  bool
		status int // of a post that is not signed
	}{
		{"signed", SourceConfig{Secret: secret}, true, http.StatusUnauthorized},
		{"unsigned", SourceConfig{Unsigned: true}, true, http.StatusOK},
		{"short secret", SourceConfig{Secret: secret[1:]}, false, http.StatusUnauthorized},
		{"nothing", SourceConfig{}, false, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.config.Validate(); (err == nil) != tt.valid {
				t.Errorf("Validate() = %v, want valid = %v", err, tt.valid)
			}
			w := httptest.NewRecorder()
			next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			tt.config.Authenticated("convert", next).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
			if w.Code != tt.status {
				t.Errorf("a post that is not signed is answered %d, want %d", w.Code, tt.status)
			}
		})
	}
}
