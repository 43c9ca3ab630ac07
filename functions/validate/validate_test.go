package validate

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/eventingtest"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

type verifierFunc func(ctx context.Context, raw string) (token.Claims, error)

func (f verifierFunc) Verify(ctx context.Context, raw string) (token.Claims, error) {
	return f(ctx, raw)
}

var georgio = token.Claims{
	Username: "georgio@email.com",
	RegisteredClaims: jwt.RegisteredClaims{
		ID: "id", Issuer: "soundstrip", Subject: "7", Audience: jwt.ClaimStrings{"soundstrip"},
		IssuedAt: jwt.NewNumericDate(time.Unix(1700000000, 0)), NotBefore: jwt.NewNumericDate(time.Unix(1700000000, 0)),
		ExpiresAt: jwt.NewNumericDate(time.Unix(1700086400, 0)),
	},
}

// verifier knows the tokens good and early; every other is bad.
func verifier(_ context.Context, raw string) (token.Claims, error) {
	switch raw {
	case "good":
		return georgio, nil
	case "early":
		return token.Claims{}, token.ErrUnavailable
	}
	return token.Claims{}, jwt.ErrTokenSignatureInvalid
}

func post(t *testing.T, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	New(verifierFunc(verifier)).ServeHTTP(w, r)
	return w
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, path, authorization string
		status                            int
	}{
		{"good", "POST", "/validate", "Bearer good", 200},
		{"without a path", "POST", "/", "Bearer good", 200},
		{"none", "POST", "/validate", "", 401},
		{"Basic", "POST", "/validate", "Basic Z29vZA==", 401},
		{"bad", "POST", "/validate", "Bearer bad", 403},
		{"no keys yet", "POST", "/validate", "Bearer early", 503},
		{"GET", "GET", "/validate", "Bearer good", 405},
		{"elsewhere", "POST", "/other", "Bearer good", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := post(t, tt.method, tt.path, "", "Authorization: "+tt.authorization)
			if w.Code != tt.status {
				t.Fatalf("%s %s = %d, %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.status)
			}
			if tt.status != 200 {
				return
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"username": "georgio@email.com", "admin": false, "iat": 1.7e9, "nbf": 1.7e9,
				"exp": 1.7000864e9,
				"iss": "soundstrip", "sub": "7", "aud": []any{"soundstrip"}, "jti": "id"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if ct, cc := w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"); ct != "application/json" ||
				cc != "no-store" {
				t.Errorf("Content-Type %q, Cache-Control %q", ct, cc)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typ, data string
		status          int
		reply           string
	}{
		{"good", TypeTokenPresented, `{"token":"good"}`, 200, TypeTokenValidated},
		{"bad", TypeTokenPresented, `{"token":"bad"}`, 200, TypeTokenRefused},
		{"none", TypeTokenPresented, `{}`, 400, ""},
		{"no keys yet", TypeTokenPresented, `{"token":"early"}`, 503, ""},
		{"another type", "dev.soundstrip.login.requested.v1", `{"token":"good"}`, 400, ""},
	} {
		for mode, structured := range map[string]bool{"binary": false, "structured": true} {
			t.Run(tt.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				var ids []string
				for range 2 { // an event may come twice
					w := post(t, "POST", "/validate", tt.data, "Content-Type: application/json", "Ce-Specversion: 1.0", "Ce-Id: 1",
						"Ce-Source: /app", "Ce-Subject: s", "Ce-Type: "+tt.typ)
					if structured {
						w = post(t, "POST", "/",
							`{"specversion":"1.0","id":"1","source":"/app","subject":"s","type":"`+tt.typ+`","data":`+tt.data+`}`,
							"Content-Type: application/cloudevents+json")
					}
					if w.Code != tt.status {
						t.Fatalf("status %d, %s, want %d", w.Code, w.Body, tt.status)
					}
					if tt.reply == "" {
						return
					}
					if got := strings.HasPrefix(w.Header().Get("Content-Type"), "application/cloudevents+json"); got != structured {
						t.Errorf("Content-Type = %q, want the mode of the request", w.Header().Get("Content-Type"))
					}
					ids = append(ids, checkReply(t, w.Result(), tt.reply))
				}
				if ids[0] != ids[1] {
					t.Errorf("replies to one event have the ids %q", ids)
				}
			})
		}
	}
}

// checkReply checks the event that answers, and gives its id.
func checkReply(t *testing.T, resp *http.Response, want string) string {
	t.Helper()
	e, err := eventing.Reply(resp)
	if err != nil || e == nil {
		t.Fatalf("Reply() = %v, %v", e, err)
	}
	if e.Type() != want || e.Source() != "/soundstrip/validate" || e.Subject() != "s" {
		t.Errorf("reply is %s from %s about %s, want %s", e.Type(), e.Source(), e.Subject(), want)
	}
	if want == TypeTokenRefused {
		if p, err := eventing.Decode[TokenRefused](*e); err != nil || p.Error == "" {
			t.Errorf("reply = %+v, %v", p, err)
		}
		return e.ID()
	}
	p, err := eventing.Decode[TokenValidated](*e)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(georgio, p.Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	return e.ID()
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	for _, p := range []eventing.Payload{
		TokenPresented{Token: "e30.e30.e30"},
		TokenValidated{georgio},
		TokenRefused{Error: "the token is not valid"},
	} {
		t.Run(p.Type(), func(t *testing.T) {
			t.Parallel()
			eventingtest.Payload(t, p)
		})
	}
}
