package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

type fakeUsers struct {
	Users        // what the tests do not come to
	networks     []string
	taken        []account.Limit
	full         error // of Take
	authenticate func(email, password string) (account.User, error)
	byID         func(id string) (account.User, error)
	tokensAfter  func(since int64) (map[string]int64, int64, error)
	create       func(email, password string, admin bool) error
}

func (f *fakeUsers) Authenticate(_ context.Context, email, password, network string) (account.User, error) {
	f.networks = append(f.networks, network)
	return f.authenticate(email, password)
}

func (f *fakeUsers) Take(_ context.Context, limits ...account.Limit) error {
	f.taken = append(f.taken, limits...)
	return f.full
}

func (f *fakeUsers) ByID(_ context.Context, id string) (account.User, error) { return f.byID(id) }

func (f *fakeUsers) TokensAfter(_ context.Context, since int64) (map[string]int64, int64, error) {
	return f.tokensAfter(since)
}

func (f *fakeUsers) Create(_ context.Context, email, password string, admin bool) (string, error) {
	return "u_new", f.create(email, password, admin)
}

// setup is a function with two users, an admin and another, whose password is Admin123.
type setup struct {
	users  *fakeUsers
	signer *token.Signer
	clock  time.Time
	h      http.Handler

	sent    []event.Event
	sendErr error
}

// Send is of [Sender].
func (s *setup) Send(_ context.Context, e event.Event) error {
	s.sent = append(s.sent, e)
	return s.sendErr
}

func newSetup(t testing.TB, cfg Config) *setup {
	t.Helper()
	cfg.Session = time.Hour
	signer, err := token.NewSigner(token.SignerConfig{
		Secret: "0123456789abcdef0123456789abcdef", Issuer: "soundstrip", Audience: "soundstrip", TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{signer: signer, clock: time.Now()}
	known := map[string]account.User{
		"georgio@email.com": {ID: "u_georgio", Email: "georgio@email.com"},
		"admin@email.com":   {ID: "u_admin", Email: "admin@email.com", Admin: true},
		"former@email.com":  {ID: "u_former", Email: "former@email.com", Admin: true, Disabled: true},
	}
	s.users = &fakeUsers{
		authenticate: func(email, password string) (account.User, error) {
			u, ok := known[strings.ToLower(email)]
			if !ok || password != "Admin123" || u.Disabled {
				return account.User{}, fmt.Errorf("%w: for the log only", account.ErrCredentials)
			}
			return u, nil
		},
		byID: func(id string) (account.User, error) {
			for _, u := range known {
				if u.ID == id {
					return u, nil
				}
			}
			return account.User{}, account.ErrNotFound
		},
		create: func(email, _ string, admin bool) error {
			if _, ok := known[email]; ok {
				return account.ErrExists
			}
			known[email] = account.User{ID: "u_" + email, Email: email, Admin: admin}
			return nil
		},
	}
	s.h = newHandler(s.users, signer, s, cfg, func() time.Time { return s.clock }).routes()
	return s
}

// do sends a request with the header lines "Name: value".
func (s *setup) do(t *testing.T, method, path, body string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w.Result()
}

// bearer gives the header of a valid token, whose claims a test may change.
func (s *setup) bearer(t testing.TB, subject string, change func(*token.Claims)) string {
	t.Helper()
	c := token.Claims{Username: "x@email.com", Admin: true, AuthTime: jwt.NewNumericDate(s.clock)}
	c.Subject = subject
	if change != nil {
		change(&c)
	}
	raw, err := s.signer.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: Bearer " + raw
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func basic(email, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(email, password)
	return "Authorization: " + r.Header.Get("Authorization")
}

func TestLogin(t *testing.T) {
	t.Parallel()
	const challenge = `Basic realm="soundstrip"`
	right := basic("georgio@email.com", "Admin123")
	asJSON, asForm := "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name         string
		method, path string
		body         string
		header       []string
		status       int
		challenge    string
	}{
		{name: "Basic", path: "/login", header: []string{right}, status: 200},
		{name: "without a path", path: "/", header: []string{right}, status: 200},
		{name: "JSON", path: "/login", header: []string{asJSON}, body: `{"email":"georgio@email.com","password":"Admin123"}`,
			status: 200},
		{name: "JSON that curl calls a form", path: "/login", header: []string{asForm},
			body: ` {"email":"georgio@email.com","password":"Admin123"}`, status: 200},
		{name: "form", path: "/login", header: []string{asForm}, body: `email=georgio%40email.com&password=Admin123`,
			status: 200},
		{name: "wrong password", path: "/login", header: []string{basic("georgio@email.com", "admin123")}, status: 401,
			challenge: challenge},
		{name: "unknown", path: "/login", header: []string{basic("nobody@email.com", "Admin123")}, status: 401,
			challenge: challenge},
		{name: "disabled", path: "/login", header: []string{basic("former@email.com", "Admin123")}, status: 401,
			challenge: challenge},
		{name: "no credentials", path: "/login", status: 401, challenge: challenge},
		{name: "broken Basic", path: "/login", header: []string{"Authorization: Basic !"}, status: 401, challenge: challenge},
		{name: "a token", path: "/login", header: []string{"Authorization: Bearer abc"}, status: 401, challenge: challenge},
		{name: "broken JSON", path: "/login", header: []string{asJSON}, body: `{"email":`, status: 400},
		{name: "JSON of another shape", path: "/login", header: []string{asJSON}, body: `{"email":["a"]}`, status: 400},
		{name: "large body", path: "/login", header: []string{asJSON}, body: "{" + strings.Repeat(" ", maxBody), status: 413},
		{name: "GET", method: "GET", path: "/login", header: []string{right}, status: 405},
		{name: "HEAD", method: "HEAD", path: "/login", header: []string{right}, status: 405},
		{name: "GET without a path", method: "GET", path: "/", status: 405},
		{name: "elsewhere", path: "/other", header: []string{right}, status: 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, Config{SignUp: "closed"})
			method := tt.method
			if method == "" {
				method = "POST"
			}
			resp := s.do(t, method, tt.path, tt.body, tt.header...)
			body := bodyOf(t, resp)
			if resp.StatusCode != tt.status || resp.Header.Get("WWW-Authenticate") != tt.challenge {
				t.Fatalf("status %d, challenge %q, body %q, want %d, %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"),
					body, tt.status, tt.challenge)
			}
			if strings.Contains(body, "for the log only") {
				t.Errorf("the client reads %q", body)
			}
			if tt.status == 405 && resp.Header.Get("Allow") != "POST" {
				t.Errorf("Allow = %q, want POST", resp.Header.Get("Allow"))
			}
			if tt.status != 200 {
				return
			}
			c, err := s.signer.Verifier().Verify(t.Context(), body) // the whole body is the token
			if err != nil || c.Username != "georgio@email.com" || c.Admin || c.Subject != "u_georgio" {
				t.Errorf("Verify(%q) = %+v, %v", body, c, err)
			}
			if ct, cc := resp.Header.Get("Content-Type"), resp.Header.Get("Cache-Control"); ct != "text/plain; charset=utf-8" ||
				cc != "no-store" {
				t.Errorf("Content-Type %q, Cache-Control %q", ct, cc)
			}
		})
	}
}

func TestRefusalsLookAlike(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "closed"})
	want := bodyOf(t, s.do(t, "POST", "/login", "", basic("georgio@email.com", "wrong")))
	for _, email := range []string{"nobody@email.com", "former@email.com"} {
		if got := bodyOf(t, s.do(t, "POST", "/login", "", basic(email, "Admin123"))); got != want {
			t.Errorf("%s is answered %q, and a wrong password %q", email, got, want)
		}
	}
}

func TestLoginAsJSON(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "closed"})
	resp := s.do(t, "POST", "/login", "", basic("admin@email.com", "Admin123"), "Accept: application/json")
	var got TokenIssued
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	c, err := s.signer.Verifier().Verify(t.Context(), got.AccessToken)
	if err != nil || !c.Admin {
		t.Errorf("Verify(access_token) = %+v, %v, want an admin", c, err)
	}
	if got.TokenType != "Bearer" || got.ExpiresIn != 3600 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answer = %+v as %s", got, resp.Header.Get("Content-Type"))
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"busy", account.ErrBusy},
		{"away", errors.New("dial tcp 10.0.0.1:3306: connection refused")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, Config{SignUp: "open"})
			s.users.authenticate = func(string, string) (account.User, error) { return account.User{}, tt.err }
			s.users.create = func(string, string, bool) error { return tt.err }
			for _, path := range []string{"/login", "/users"} {
				resp := s.do(t, "POST", path, `{"email":"georgio@email.com","password":"Admin123"}`)
				body := bodyOf(t, resp)
				if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || strings.Contains(body, "10.0.0.1") {
					t.Errorf("POST %s = %d, Retry-After %q, %q, want 503", path, resp.StatusCode, resp.Header.Get("Retry-After"), body)
				}
			}
		})
	}
}

func TestSignUp(t *testing.T) {
	t.Parallel()
	const valid = `{"email":"new@email.com","password":"Admin123"}`
	open, closed := Config{SignUp: "open"}, Config{SignUp: "closed"}
	for _, tt := range []struct {
		name   string
		cfg    Config
		by     string // whose token is sent
		header string
		body   string
		create error
		status int
		detail string
	}{
		{name: "open", cfg: open, body: valid, status: 201},
		{name: "open, by form", cfg: open, body: "email=new@email.com&password=Admin123", status: 201},
		{name: "open, exists", cfg: open, body: `{"email":"georgio@email.com","password":"Admin123"}`, status: 409,
			detail: "has an account already"},
		{name: "open, weak", cfg: open, body: valid, create: errors.Join(account.RuleError("bad address"),
			account.RuleError("weak password")), status: 422, detail: "bad address; weak password"},
		{name: "open, broken", cfg: open, body: `{`, status: 400},
		{name: "open, large", cfg: open, body: strings.Repeat("x", maxBody+1), status: 413},
		{name: "closed", cfg: closed, body: valid, status: 403, detail: "sign-up is closed"},
		{name: "closed, admin", cfg: closed, by: "u_admin", body: valid, status: 201},
		{name: "closed, another", cfg: closed, by: "u_georgio", body: valid, status: 403, detail: "only an admin"},
		{name: "closed, former admin", cfg: closed, by: "u_former", body: valid, status: 403,
			detail: "was ended"},
		{name: "closed, deleted admin", cfg: closed, by: "u_deleted", body: valid, status: 403,
			detail: "was ended"},
		{name: "closed, bad token", cfg: closed, header: "Authorization: Bearer abc", body: valid, status: 403,
			detail: "not valid"},
		{name: "closed, Basic", cfg: closed, header: basic("admin@email.com", "Admin123"), body: valid, status: 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, tt.cfg)
			if tt.create != nil {
				s.users.create = func(string, string, bool) error { return tt.create }
			}
			header := tt.header
			if tt.by != "" {
				header = s.bearer(t, tt.by, nil)
			}
			resp := s.do(t, "POST", "/users", tt.body, header)
			if body := bodyOf(t, resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.detail) {
				t.Fatalf("POST /users = %d, %q, want %d, %q", resp.StatusCode, body, tt.status, tt.detail)
			}
			allow := s.do(t, "OPTIONS", "/users", "").Header.Get("Allow")
			if everyone := strings.Contains(allow, "POST"); everyone != (tt.cfg.SignUp == "open") {
				t.Errorf("OPTIONS /users allows %q where sign-up is %s", allow, tt.cfg.SignUp)
			}
			login := s.do(t, "POST", "/login", "", basic("new@email.com", "Admin123"))
			if made := login.StatusCode == 200; made != (tt.status == 201) {
				t.Errorf("POST /login of the new user = %d", login.StatusCode)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	resp := newSetup(t, Config{SignUp: "closed"}).do(t, "GET", "/.well-known/jwks.json", "")
	if body := bodyOf(t, resp); resp.StatusCode != 200 || body != `{"keys":[]}` {
		t.Errorf("GET /.well-known/jwks.json = %d, %s, want no keys of a secret", resp.StatusCode, body)
	}
}

// TestThrottled has the store say that there were too many attempts.
func TestThrottled(t *testing.T) {
	t.Parallel()
	s := newSetup(t, Config{SignUp: "open", Proxies: eventing.ProxyConfig{Hops: 1}})
	s.users.full = &account.WaitError{For: 7 * time.Second}
	s.users.authenticate = func(string, string) (account.User, error) { return account.User{}, s.users.full }
	for _, path := range []string{"/login", "/users"} {
		resp := s.do(t, "POST", path, `{"email":"georgio@email.com","password":"Admin123"}`,
			"X-Forwarded-For: 198.51.100.7, 203.0.113.1")
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" {
			t.Errorf("POST %s = %d, Retry-After %q, want 429 and 7", path, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
	if diff := cmp.Diff([]string{"203.0.113.1/32"}, s.users.networks); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	want := account.LimitOf("sign-up", signUps, everySignUp, "203.0.113.1/32")
	if len(s.users.taken) != 1 || s.users.taken[0] != want {
		t.Errorf("a sign-up counts as %v, want %v", s.users.taken, want)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{"203.0.113.1": "203.0.113.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64"} {
		if got := networkOf(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("networkOf(%s) = %s, want %s", addr, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("networkOf() without an address = %v, want one key for all", got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		env  map[string]string
		want Config
		err  string
	}{
		{name: "nothing set", want: Config{SignUp: "closed", Confirm: true, Session: 720 * time.Hour}},
		{name: "all set", env: map[string]string{"LOGIN_SIGNUP": "open", "PROXY_HOPS": "2"},
			want: Config{SignUp: "open", Confirm: true, Session: 720 * time.Hour, Proxies: eventing.ProxyConfig{Hops: 2}}},
		{name: "unknown sign-up", env: map[string]string{"LOGIN_SIGNUP": "maybe"}, err: "LOGIN_SIGNUP"},
		{name: "no address", env: map[string]string{"K_SINK": "broker"}, err: "K_SINK"},
		{name: "no number", env: map[string]string{"PROXY_HOPS": "-1"}, err: "PROXY_HOPS"},
		{name: "as it was", env: map[string]string{"LOGIN_TRUST_PROXY": "10.0.0.0/8"}, err: "set PROXY_HOPS instead"},
		{name: "admin for the old gateway", env: map[string]string{"LOGIN_LEGACY_ADMIN": "true"}, err: "set LEGACY instead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got Config
			err := serve.Load(t.Context(), envconfig.MapLookuper(tt.env), &got)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Load() = %v, want a fault of %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Load() (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzReadCredentials(f *testing.F) {
	f.Add(`{"email":"georgio@email.com","password":"Admin123"}`)
	f.Add("email=georgio%40email.com&password=Admin123")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader(body))
		_, err := readCredentials(httptest.NewRecorder(), r)
		var p *problem.Error
		if err != nil && (!errors.As(err, &p) || p.Status() >= 500) {
			t.Errorf("readCredentials(%q) = %v, want the client's fault", body, err)
		}
	})
}
