// Package login is the function that gives tokens: for an e-mail address and a password it signs a JSON Web Token. It
// also makes users, and publishes the keys by which others check the tokens.
//
// It takes dev.soundstrip.login.requested.v1 as well, from anyone, and replies dev.soundstrip.token.issued.v1 or
// dev.soundstrip.login.refused.v1: an event carries its own credentials, as a request does.
package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// Users is what a login needs of the users.
type Users interface {
	Authenticate(ctx context.Context, email, password string) (account.User, error)
	ByEmail(ctx context.Context, email string) (account.User, error)
	Create(ctx context.Context, email, password string, admin bool) error
}

// Config says who may become a user, and which proxies stand before us.
type Config struct {
	// SignUp is open when everyone may make an account, and closed when only admins may.
	SignUp string `env:"LOGIN_SIGNUP, default=closed"`
	// LegacyAdmin has every token say admin, since the Python gateway turns others away.
	LegacyAdmin bool `env:"LOGIN_LEGACY_ADMIN"`
	// TrustProxy are the networks of the proxies whose X-Forwarded-For is believed.
	TrustProxy []netip.Prefix `env:"LOGIN_TRUST_PROXY"`
}

// Validate reports an unknown LOGIN_SIGNUP.
func (c *Config) Validate() error {
	if c.SignUp != "open" && c.SignUp != "closed" {
		return fmt.Errorf("LOGIN_SIGNUP is %q: want open or closed", c.SignUp)
	}
	return nil
}

// maxBody is the most, in bytes, that is read of credentials.
const maxBody = 4 << 10

type handler struct {
	users     Users
	signer    *token.Signer
	verifier  token.Verifier
	cfg       Config
	accounts  *throttle[accountKey]
	addresses *throttle[netip.Prefix]
	now       func() time.Time
}

// New makes the function's handler.
func New(users Users, signer *token.Signer, cfg Config) http.Handler {
	return newHandler(users, signer, cfg, time.Now).routes()
}

func newHandler(users Users, signer *token.Signer, cfg Config, now func() time.Time) *handler {
	return &handler{
		users:     users,
		signer:    signer,
		verifier:  signer.Verifier(),
		cfg:       cfg,
		accounts:  newThrottle[accountKey](10*time.Second, 10),
		addresses: newThrottle[netip.Prefix](time.Second, 50),
		now:       now,
	}
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/{$}", "/login"} { // a Knative route of its own has no path
		mux.HandleFunc("POST "+path, h.login)
		mux.Handle(path, problem.NotAllowed(http.MethodPost))
	}
	mux.Handle("POST /users", problem.Handler(h.signUp))
	mux.Handle("/users", problem.NotAllowed(http.MethodPost))
	mux.Handle("GET /.well-known/jwks.json", problem.Handler(h.jwks))
	mux.Handle("/.well-known/jwks.json", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	from := network(clientAddr(r, h.cfg.TrustProxy))
	if eventing.IsEvent(r) {
		h.events(from).ServeHTTP(w, r)
		return
	}
	problem.Handler(func(w http.ResponseWriter, r *http.Request) error { return h.post(w, r, from) }).ServeHTTP(w, r)
}

// post answers with the bare token and no line break: a script takes all of the body for the token.
func (h *handler) post(w http.ResponseWriter, r *http.Request, from netip.Prefix) error {
	email, password, ok := r.BasicAuth()
	if !ok {
		c, err := readCredentials(w, r)
		if err != nil {
			return err
		}
		email, password = c.Email, c.Password
	}
	if email == "" && password == "" {
		return unauthenticated(problem.New(problem.Unauthenticated,
			`no credentials: send them by HTTP Basic (curl -u EMAIL) or as JSON {"email", "password"}`))
	}
	issued, err := h.issue(r.Context(), from, email, password)
	if err != nil {
		return answer(err)
	}
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(issued)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, issued.AccessToken)
	return nil
}

// issue gives a token to the owner of the credentials. account.ErrCredentials and *waitError are the faults of the
// client.
func (h *handler) issue(ctx context.Context, from netip.Prefix, email, password string) (TokenIssued, error) {
	now, acc := h.now(), keyOf(email)
	if wait := max(h.accounts.wait(acc, now), h.addresses.wait(from, now)); wait > 0 {
		return TokenIssued{}, &waitError{wait}
	}
	u, err := h.users.Authenticate(ctx, email, password)
	if errors.Is(err, account.ErrCredentials) {
		h.accounts.charge(acc, now)
		h.addresses.charge(from, now)
	}
	if err != nil {
		return TokenIssued{}, err
	}
	raw, err := h.signer.Sign(strconv.FormatInt(u.ID, 10), u.Email, u.Admin || h.cfg.LegacyAdmin)
	if err != nil {
		return TokenIssued{}, err
	}
	return TokenIssued{AccessToken: raw, TokenType: "Bearer", ExpiresIn: int(h.signer.TTL().Seconds())}, nil
}

func (h *handler) signUp(w http.ResponseWriter, r *http.Request) error {
	if err := h.maySignUp(r); err != nil {
		return err
	}
	c, err := readCredentials(w, r)
	if err != nil {
		return err
	}
	if err := h.users.Create(r.Context(), c.Email, c.Password, false); err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "the account is made: log in at POST /login\n")
	return nil
}

// maySignUp lets everyone through when sign-up is open, and admins otherwise. The store says who is an admin: a token
// may be out of date, and with LegacyAdmin every token says so.
func (h *handler) maySignUp(r *http.Request) error {
	if h.cfg.SignUp == "open" {
		from, now := network(clientAddr(r, h.cfg.TrustProxy)), h.now()
		if wait := h.addresses.wait(from, now); wait > 0 {
			return answer(&waitError{wait})
		}
		h.addresses.charge(from, now)
		return nil
	}
	if r.Header.Get("Authorization") == "" {
		return problem.New(problem.Forbidden, "sign-up is closed here: ask an admin for an account")
	}
	claims, err := token.FromRequest(r, h.verifier)
	if err != nil {
		return err
	}
	u, err := h.users.ByEmail(r.Context(), claims.Username)
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		return answer(err)
	}
	if !u.Admin || u.Disabled {
		return problem.New(problem.Forbidden, "sign-up is closed here, and only an admin may make an account for another")
	}
	return nil
}

func (h *handler) jwks(w http.ResponseWriter, r *http.Request) error {
	set, err := h.signer.JWKS(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(set)
	return nil
}

// credentials are what a client sends as a JSON object or a form.
type credentials struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// readCredentials reads a JSON object or a form. The body tells which it is: curl -d calls everything a form.
func readCredentials(w http.ResponseWriter, r *http.Request) (c credentials, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return c, problem.New(problem.TooLarge, "the request's body is larger than %d bytes, which credentials are not",
			maxBody)
	}
	if err != nil {
		return c, problem.Wrap(err, problem.Invalid, "the request's body broke off")
	}
	if strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		if err := json.Unmarshal(body, &c); err != nil {
			return c, problem.New(problem.Invalid, `the request's body is not the JSON {"email", "password"}`)
		}
		return c, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return c, problem.New(problem.Invalid, `the request's body is neither JSON {"email", "password"} nor a form`)
	}
	return credentials{Email: form.Get("email"), Password: form.Get("password")}, nil
}

func unauthenticated(p *problem.Error) *problem.Error {
	return p.With("WWW-Authenticate", `Basic realm="soundstrip"`)
}

// answer turns an error into what the client is told.
func answer(err error) error {
	var wait *waitError
	var rule account.RuleError
	switch {
	case errors.Is(err, account.ErrCredentials):
		return unauthenticated(problem.Wrap(err, problem.Unauthenticated, "%v", account.ErrCredentials))
	case errors.As(err, &wait):
		return problem.Wrap(err, problem.TooMany, "too many attempts: wait before the next").RetryAfter(wait.d)
	case errors.As(err, &rule):
		return problem.New(problem.Unprocessable, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	case errors.Is(err, account.ErrExists):
		return problem.New(problem.Conflict, "%v: log in at POST /login", account.ErrExists)
	case errors.Is(err, account.ErrBusy):
		return problem.Wrap(err, problem.Unavailable, "too many logins at once: try again").RetryAfter(time.Second)
	}
	return problem.Wrap(err, problem.Unavailable,
		"the users cannot be reached at the moment: try again").RetryAfter(time.Second)
}
