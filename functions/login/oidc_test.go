package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// people are the users of the OpenID provider, by ID. All have the same password.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User { return p[id] }

func (p people) GetUserByUsername(name string) *storage.User { return p[name] }

func (people) ExampleClientID() string { return "" }

// grouped is a provider's storage that has a group for one user.
type grouped struct {
	*storage.Storage
	mu     sync.Mutex
	groups map[string][]string
}

func (g *grouped) SetUserinfoFromToken(
	ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string,
) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if groups := g.groups[subject]; groups != nil {
		info.AppendClaims("groups", groups)
	}
	return g.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin)
}

const callback = "https://soundstrip.example.com/login/oidc/callback"

var registerClient = sync.OnceFunc(func() {
	storage.RegisterClients(storage.WebClient("soundstrip", "secret", callback))
})

// signOn is a function whose users sign on at a real OpenID provider, which runs in this process.
type signOn struct {
	*home
	op     *httptest.Server
	groups *grouped
	// tamper changes what the provider answers to a code; nil leaves it.
	tamper func(answer map[string]any)
}

// RoundTrip is of [http.RoundTripper].
func (s *signOn) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || s.tamper == nil || !strings.HasSuffix(r.URL.Path, "/token") || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	var answer map[string]any
	err = json.NewDecoder(resp.Body).Decode(&answer)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	s.tamper(answer)
	body, err := json.Marshal(answer)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return resp, err
}

func newSignOn(t *testing.T) *signOn {
	t.Helper()
	registerClient()
	s := &signOn{home: newHome(t)}
	s.op = httptest.NewUnstartedServer(nil)
	issuer := "http://" + s.op.Listener.Addr().String() + "/"
	users := people{}
	for id, email := range map[string]string{"anna": "anna@email.com", "georgio": "georgio@email.com",
		"eve": "georgio@email.com", "mallory": "admin@email.com"} {
		users[id] = &storage.User{ID: id, Username: id, Password: "p", Email: email, EmailVerified: id != "mallory"}
	}
	s.groups = &grouped{Storage: storage.NewStorage(users), groups: map[string][]string{}}
	s.op.Config.Handler = exampleop.SetupServer(issuer, s.groups, nil, false)
	s.op.Start()
	t.Cleanup(s.op.Close)
	h := newHandler(s.store, s.signer, s.setup, Config{SignUp: "closed", Session: time.Hour,
		OIDC: OIDCConfig{Issuer: issuer, ClientID: "soundstrip", ClientSecret: "secret", AdminGroup: "soundstrip-admins",
			PublicURL: "https://soundstrip.example.com/"}}, func() time.Time { return s.clock })
	h.provider.client.Transport = s
	s.h = h.routes()
	return s
}

// begin gives where to send a browser, and the state.
func (s *signOn) begin(t *testing.T) (address, state string) {
	t.Helper()
	var begun struct{ State, URL string }
	if err := json.Unmarshal([]byte(s.want(t, 200, "POST", "/login/oidc", "")), &begun); err != nil {
		t.Fatal(err)
	}
	return begun.URL, begun.State
}

// browse signs on at the provider, and gives the code that the browser comes back with.
func (s *signOn) browse(t *testing.T, address, user string) (code string) {
	t.Helper()
	var back *url.URL
	client := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	form := url.Values{"id": {resp.Request.URL.Query().Get("authRequestID")}, "username": {user}, "password": {"p"}}
	if resp, err = client.PostForm(strings.TrimRight(s.op.URL, "/")+"/login/username", form); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if back == nil || back.Query().Get("code") == "" {
		t.Fatalf("the provider sends %s to %v, %s %.300s, want back with a code", user, back, resp.Status, said)
	}
	return back.Query().Get("code")
}

func (s *signOn) end(t *testing.T, want int, code, state string) string {
	t.Helper()
	return s.want(t, want, "POST", "/login/oidc/callback", `{"code": "`+code+`", "state": "`+state+`"}`)
}

// TestSignOn has people sign on by OpenID Connect: one who has an account, one who has none, and one whom the provider
// makes an admin, and no admin again.
func TestSignOn(t *testing.T) {
	t.Parallel()
	s := newSignOn(t)
	in := func(user string) (subject string, admin bool) {
		t.Helper()
		address, state := s.begin(t)
		q, err := url.Parse(address)
		if err != nil || q.Query().Get("code_challenge_method") != "S256" || q.Query().Get("nonce") == "" {
			t.Errorf("the browser is sent to %s, %v, want with PKCE and a nonce", address, err)
		}
		raw := s.end(t, 200, s.browse(t, address, user), state)
		c, err := s.signer.Verifier().Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		return c.Subject, c.IsAdmin()
	}
	if subject, admin := in("georgio"); subject != s.user.ID || admin {
		t.Errorf("georgio signs on as %s, admin %v, want %s", subject, admin, s.user.ID)
	}
	anna, _ := in("anna")
	u, err := s.store.ByEmail(t.Context(), "anna@email.com")
	if err != nil || u.ID != anna {
		t.Errorf("ByEmail() = %+v, %v, want the account that was made", u, err)
	}
	s.want(t, 401, "POST", "/login", "", basic("anna@email.com", ""))
	s.groups.mu.Lock()
	s.groups.groups["anna"] = []string{"soundstrip-admins"}
	s.groups.mu.Unlock()
	// Without a password, only who signed on just now may do what asks for it.
	late := s.bearer(t, anna, func(c *token.Claims) {
		c.AuthTime = jwt.NewNumericDate(s.clock.Add(-recently - time.Minute))
	})
	s.want(t, 403, "DELETE", "/users/me", "", late)
	s.want(t, 422, "PUT", "/users/me/password", "password=short", s.bearer(t, anna, nil))
	if again, admin := in("anna"); again != anna || !admin {
		t.Errorf("anna signs on as %s, admin %v, want the same user, an admin", again, admin)
	}
	s.groups.mu.Lock()
	s.groups.groups["anna"] = []string{"others"}
	s.groups.mu.Unlock()
	if _, admin := in("anna"); admin {
		t.Error("anna is an admin, and left the group")
	}
}

// TestSignOnAttacks are sign-ons in which something is not as it should be.
func TestSignOnAttacks(t *testing.T) {
	t.Parallel()
	// claimsIn gives what an ID token says.
	claimsIn := func(t *testing.T, raw any) jwt.MapClaims {
		t.Helper()
		c := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(raw.(string), c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, s *signOn)
	}{
		{"a state that nobody was given", func(t *testing.T, s *signOn) {
			address, _ := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), "AAAA")
		}},
		{"a state used twice", func(t *testing.T, s *signOn) {
			address, state := s.begin(t)
			code := s.browse(t, address, "georgio")
			s.end(t, 200, code, state)
			s.end(t, 403, code, state)
		}},
		{"a code that was stolen, in a sign-on of the thief's", func(t *testing.T, s *signOn) {
			address, _ := s.begin(t)
			stolen := s.browse(t, address, "georgio")
			_, state := s.begin(t)
			s.end(t, 403, stolen, state) // PKCE
		}},
		{"a code made up", func(t *testing.T, s *signOn) {
			_, state := s.begin(t)
			s.end(t, 403, "x", state)
		}},
		{"the ID token of another sign-on", func(t *testing.T, s *signOn) {
			var other any
			s.tamper = func(answer map[string]any) { other = answer["id_token"] }
			address, state := s.begin(t)
			s.end(t, 200, s.browse(t, address, "georgio"), state)
			s.tamper = func(answer map[string]any) { answer["id_token"] = other }
			address, state = s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state) // all but the nonce is right
		}},
		{"the ID token of another user", func(t *testing.T, s *signOn) {
			var other any
			s.tamper = func(answer map[string]any) { other = answer["id_token"] }
			address, state := s.begin(t)
			s.end(t, 200, s.browse(t, address, "georgio"), state)
			s.tamper = func(answer map[string]any) { answer["id_token"] = other }
			address, state = s.begin(t)
			s.end(t, 403, s.browse(t, address, "anna"), state)
		}},
		{"an ID token by another key", func(t *testing.T, s *signOn) {
			s.tamper = func(answer map[string]any) {
				forged := jwt.NewWithClaims(jwt.SigningMethodHS256, claimsIn(t, answer["id_token"]))
				answer["id_token"], _ = forged.SignedString([]byte("secret")) // that of the client, which others may know
			}
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state)
		}},
		{"an ID token without a signature", func(t *testing.T, s *signOn) {
			s.tamper = func(answer map[string]any) {
				forged := jwt.NewWithClaims(jwt.SigningMethodNone, claimsIn(t, answer["id_token"]))
				answer["id_token"], _ = forged.SignedString(jwt.UnsafeAllowNoneSignatureType)
			}
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state)
		}},
		{"an ID token with other claims", func(t *testing.T, s *signOn) {
			s.tamper = func(answer map[string]any) {
				parts := strings.Split(answer["id_token"].(string), ".")
				c := claimsIn(t, answer["id_token"])
				c["sub"] = "eve"
				unsigned, _ := jwt.NewWithClaims(jwt.SigningMethodNone, c).SigningString()
				answer["id_token"] = parts[0] + "." + strings.Split(unsigned, ".")[1] + "." + parts[2]
			}
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state)
		}},
		{"no ID token", func(t *testing.T, s *signOn) {
			s.tamper = func(answer map[string]any) { delete(answer, "id_token") }
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state)
		}},
		{"the address of another's account, not verified", func(t *testing.T, s *signOn) {
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "mallory"), state)
			if _, err := s.store.ByEmail(t.Context(), "admin@email.com"); !errors.Is(err, account.ErrNotFound) {
				t.Errorf("ByEmail() = %v, want that no account was made", err)
			}
		}},
		{"the address of another's account, which is linked", func(t *testing.T, s *signOn) {
			address, state := s.begin(t)
			s.end(t, 200, s.browse(t, address, "georgio"), state)
			address, state = s.begin(t)
			s.end(t, 403, s.browse(t, address, "eve"), state)
		}},
		{"a disabled user", func(t *testing.T, s *signOn) {
			if err := s.store.SetDisabled(t.Context(), "georgio@email.com", true); err != nil {
				t.Fatal(err)
			}
			address, state := s.begin(t)
			s.end(t, 403, s.browse(t, address, "georgio"), state)
		}},
		{"a provider that is away", func(t *testing.T, s *signOn) {
			address, state := s.begin(t)
			code := s.browse(t, address, "georgio")
			s.op.Close()
			s.end(t, 503, code, state)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.do(t, newSignOn(t))
		})
	}
	s := newHome(t)
	s.want(t, 404, "POST", "/login/oidc", "")
}
