package eventing_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing"
)

func TestAuthenticated(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", eventing.MinSecret))
	authorized := func(secret []byte, audience string) string {
		r := httptest.NewRequest("POST", "/", nil)
		if err := eventing.Authorize(r, secret, audience); err != nil {
			t.Fatal(err)
		}
		return r.Header.Get("Authorization")
	}
	claims := func(change func(*jwt.RegisteredClaims)) jwt.RegisteredClaims {
		now := time.Now()
		c := jwt.RegisteredClaims{Issuer: "soundstrip-events", Audience: jwt.ClaimStrings{"convert"},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute))}
		change(&c)
		return c
	}
	signed := func(method jwt.SigningMethod, key any, c jwt.RegisteredClaims) string {
		raw, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + raw
	}
	same := func(*jwt.RegisteredClaims) {}
	hours := func(n int) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(time.Duration(n) * time.Hour)) }
	minutes := func(n int) *jwt.NumericDate {
		return jwt.NewNumericDate(time.Now().Add(time.Duration(n) * time.Minute))
	}
	good := authorized(secret, "convert")
	for _, tt := range []struct {
		name   string
		secret []byte // the function's own; secret when nil
		header string
		want   int
	}{
		{name: "signed", header: good, want: 200},
		{name: "by hand", header: signed(jwt.SigningMethodHS256, secret, claims(same)), want: 200},
		{name: "no header", want: 401},
		{name: "no token", header: "Bearer", want: 401},
		{name: "empty token", header: "Bearer ", want: 403},
		{name: "Basic", header: "Basic czpz", want: 401},
		{name: "no JWT", header: "Bearer x.y.z", want: 403},
		{name: "for another function", header: authorized(secret, "notify"), want: 403},
		{name: "for no function", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.Audience = nil })), want: 403},
		{name: "by another secret", header: authorized([]byte(strings.Repeat("x", 32)), "convert"), want: 403},
		{name: "by an empty secret", header: signed(jwt.SigningMethodHS256, []byte{}, claims(same)), want: 403},
		{name: "by an empty secret to a function without one", secret: []byte{},
			header: signed(jwt.SigningMethodHS256, []byte{}, claims(same)), want: 403},
		{name: "by a short secret that the function has", secret: secret[:31],
			header: signed(jwt.SigningMethodHS256, secret[:31], claims(same)), want: 403},
		{name: "not signed", header: signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(same)),
			want: 403},
		{name: "by another algorithm", header: signed(jwt.SigningMethodHS512, secret, claims(same)), want: 403},
		{name: "signature cut off", header: good[:strings.LastIndex(good, ".")+1], want: 403},
		{name: "signature changed", header: good[:len(good)-4] + "AAAA", want: 403},
		{name: "by a clock that is 5 minutes ahead", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.IssuedAt, c.ExpiresAt = minutes(5), minutes(7) })), want: 200},
		{name: "by a clock that is 5 minutes behind", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.IssuedAt, c.ExpiresAt = minutes(-5), minutes(-3) })), want: 200},
		{name: "expired", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.ExpiresAt = hours(-1) })), want: 403},
		{name: "never expires", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil })), want: 403},
		{name: "from the future", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.IssuedAt = hours(1); c.ExpiresAt = hours(2) })), want: 403},
		{name: "a person's token", header: signed(jwt.SigningMethodHS256, secret,
			claims(func(c *jwt.RegisteredClaims) { c.Issuer = "soundstrip" })), want: 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.secret == nil {
				tt.secret = secret
			}
			called := false
			h := eventing.Authenticated(tt.secret, "convert",
				http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
			r := httptest.NewRequest("POST", "/", nil)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want || called != (tt.want == 200) {
				t.Errorf("answer = %d, called = %v, want %d", w.Code, called, tt.want)
			}
			if tt.want == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestAuthorizeWithoutSecret(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/", nil)
	if err := eventing.Authorize(r, nil, "convert"); err != nil || r.Header.Get("Authorization") != "" {
		t.Errorf("Authorize = %v, header %q, want nothing", err, r.Header.Get("Authorization"))
	}
}

// TestSignatureIsOfTheBody signs one body and posts another.
func TestSignatureIsOfTheBody(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", eventing.MinSecret))
	signed := func(body string) *http.Request {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		if err := eventing.Authorize(r, secret, "convert"); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := signed(`{"video_fid":"1"}`), signed(`{"video_fid":"1"}`)
	var ids []string
	for _, r := range []*http.Request{first, second} {
		var c jwt.RegisteredClaims
		if _, _, err := jwt.NewParser().ParseUnverified(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			&c); err != nil || c.ID == "" {
			t.Errorf("the signature has the id %q, %v", c.ID, err)
		}
		ids = append(ids, c.ID)
	}
	if ids[0] == ids[1] {
		t.Error("two signatures have the same id")
	}
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"the same":  {`{"video_fid":"1"}`, 200},
		"another":   {`{"video_fid":"2"}`, 403},
		"none":      {"", 403},
		"too large": {strings.Repeat("x", eventing.MaxEvent+1), 413},
	} {
		got := ""
		h := eventing.Authenticated(secret, "convert", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got = string(b)
		}))
		r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
		r.Header.Set("Authorization", first.Header.Get("Authorization"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want || tt.want == 200 && got != tt.body {
			t.Errorf("%s body: %d and the function reads %q, want %d", name, w.Code, got, tt.want)
		}
	}
}
