// Package login is the function that gives tokens: for an e-mail address and a password it signs a JSON Web Token. It
// also makes users, and publishes the keys by which others check the tokens.
//
// It takes dev.soundstrip.login.requested.v1 as well, from anyone, and replies dev.soundstrip.token.issued.v1 or
// dev.soundstrip.login.refused.v1: an event carries its own credentials, as a request does.
package login

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// Users is what a login needs of the users.
type Users interface {
	Authenticate(ctx context.Context, email, password, network string) (account.User, error)
	Take(ctx context.Context, limits ...account.Limit) error
	ByID(ctx context.Context, id string) (account.User, error)
	ByEmail(ctx context.Context, email string) (account.User, error)
	CreateLink(ctx context.Context, email string, ttl time.Duration) (secret string, ends time.Time, err error)
	UseLink(ctx context.Context, secret, password string) (account.User, error)
	Create(ctx context.Context, email, password string, admin bool) (id string, err error)
	TokensAfter(ctx context.Context, since int64) (after map[string]int64, now int64, err error)
	BeginHandshake(ctx context.Context, h account.Handshake, ttl time.Duration) (state string, err error)
	EndHandshake(ctx context.Context, state string) (account.Handshake, error)
	ByIdentity(ctx context.Context, i account.Identity) (account.User, error)
	List(ctx context.Context) ([]account.User, error)
	SetGroup(ctx context.Context, email, group string) error
	SetDisabled(ctx context.Context, email string, disabled bool) error
	EndTokens(ctx context.Context, email string) error
	SetPassword(ctx context.Context, email, password string) error
	Delete(ctx context.Context, email string) error
	Deletions(ctx context.Context) ([]account.Deletion, error)
	Swept(ctx context.Context, id string) error
	Keys(ctx context.Context, userID string) ([]account.Key, error)
	CreateKey(ctx context.Context, userID string, k account.Key) (_ account.Key, secret string, err error)
	EndKey(ctx context.Context, userID, id string) error
	ByKey(ctx context.Context, secret string) (account.User, account.Key, error)
}

// Config says who may become a user, and which proxies stand before us.
type Config struct {
	// SignUp is open when everyone may make an account, and closed when only admins may.
	SignUp string `env:"LOGIN_SIGNUP, default=closed"`
	// Confirm has an open sign-up prove the address by a link in a mail.
	Confirm bool `env:"LOGIN_CONFIRM, default=true"`
	// Legacy has the function answer POST /validate as well, since the old auth service is both.
	Legacy  bool `env:"LEGACY"`
	Proxies eventing.ProxyConfig
	// TrustProxy is what was there before PROXY_HOPS, and LegacyAdmin before Legacy.
	TrustProxy  string `env:"LOGIN_TRUST_PROXY"`
	LegacyAdmin string `env:"LOGIN_LEGACY_ADMIN"`
	// Session is for how long one token follows from another before the password is asked for again.
	Session time.Duration `env:"LOGIN_SESSION, default=720h"`
	// Sink is the broker, which has mails sent.
	Sink string `env:"K_SINK"`
	// EventSecret signs what goes to the broker, and what sweep asks: whose files are to go. Without it nobody is told.
	EventSecret string `env:"EVENT_SECRET"`
	OIDC        OIDCConfig
}

// Validate reports an unknown LOGIN_SIGNUP, and a LOGIN_SESSION that nobody could use.
func (c *Config) Validate() error {
	var errs []error
	if c.SignUp != "open" && c.SignUp != "closed" {
		errs = append(errs, fmt.Errorf("LOGIN_SIGNUP is %q: want open or closed", c.SignUp))
	}
	if u, err := url.Parse(c.Sink); c.Sink != "" && (err != nil || u.Host == "") {
		errs = append(errs, fmt.Errorf("K_SINK is %q: want an http or https URL", c.Sink))
	}
	if c.TrustProxy != "" {
		errs = append(errs, errors.New("LOGIN_TRUST_PROXY is set: proxies are counted now, set PROXY_HOPS instead"))
	}
	if c.LegacyAdmin != "" {
		errs = append(errs, errors.New("LOGIN_LEGACY_ADMIN is set: set LEGACY instead, of which it is a part now"))
	}
	if c.Session <= 0 {
		errs = append(errs, fmt.Errorf("LOGIN_SESSION is %v: want a duration above 0", c.Session))
	}
	if c.EventSecret != "" && len(c.EventSecret) < eventing.MinSecret {
		errs = append(errs, fmt.Errorf("EVENT_SECRET: want at least %d bytes", eventing.MinSecret))
	}
	return errors.Join(errs...)
}

// maxBody is the most, in bytes, that is read of credentials.
const maxBody = 4 << 10

// Local is what verifiers in the process of the users ask.
type Local struct{ Users Users }

// Key is of [token.Login].
func (l Local) Key(ctx context.Context, key string) (token.Claims, error) {
	u, k, err := l.Users.ByKey(ctx, key)
	if errors.Is(err, account.ErrCredentials) {
		return token.Claims{}, fmt.Errorf("%w: %w", token.ErrKey, err)
	}
	if err == nil && k.Used == nil {
		// The client is not known: a function asks for it.
		slog.InfoContext(ctx, "audit",
			"event", "key.used", "subject", k.ID, "actor", u.ID, "network", "", "outcome", "ok")
	}
	c := claimsOf(u)
	c.Scope, c.Admin = k.Scope, false
	return c, err
}

// claimsOf gives what a token says of a user.
func claimsOf(u account.User) token.Claims {
	c := token.Claims{Username: u.Email, Group: u.Group, Admin: u.Admin}
	c.Subject = u.ID
	if u.Owner != u.ID {
		c.Keeper = u.Owner
	}
	return c
}

// TokensAfter is of [token.Login].
func (l Local) TokensAfter(ctx context.Context, since int64) (token.Ended, error) {
	after, now, err := l.Users.TokensAfter(ctx, since)
	return token.Ended{Now: now, TokensAfter: after}, err
}

type handler struct {
	users    Users
	signer   *token.Signer
	verifier token.Verifier
	sender   Sender
	provider *provider
	cfg      Config
	now      func() time.Time
}

// New makes the function's handler. Without events no mails are sent: nobody can sign up by mail, or choose another
// password without knowing the one before.
func New(users Users, signer *token.Signer, events Sender, cfg Config) http.Handler {
	return newHandler(users, signer, events, cfg, time.Now).routes()
}

func newHandler(users Users, signer *token.Signer, events Sender, cfg Config, now func() time.Time) *handler {
	return &handler{users: users, signer: signer, verifier: signer.Verifier(), sender: events,
		provider: newProvider(cfg.OIDC), cfg: cfg, now: now}
}

func (h *handler) routes() http.Handler {
	mux := serve.NewMux()
	for _, path := range []string{"/{$}", "/login"} { // a Knative route of its own has no path
		mux.HandleFunc("POST "+path, h.login)
		mux.Handle(path, problem.NotAllowed(http.MethodPost))
	}
	if h.cfg.Legacy {
		mux.Handle("POST /validate", token.Tell(h.verifier)) // as function validate answers
		mux.Handle("/validate", problem.NotAllowed(http.MethodPost))
	}
	mux.Handle("POST /login/oidc", problem.Handler(h.beginSignOn))
	mux.HandleFunc("OPTIONS /login/oidc", h.allowSignOn)
	mux.Handle("POST /login/oidc/callback", problem.Handler(h.endSignOn))
	mux.Handle("POST /token", problem.Handler(h.refresh))
	mux.Handle("/token", problem.NotAllowed(http.MethodPost))
	mux.Handle("POST /logout", problem.Handler(h.logout))
	mux.Handle("/logout", problem.NotAllowed(http.MethodPost))
	mux.Handle("POST /users", problem.Handler(h.signUp))
	mux.HandleFunc("OPTIONS /users", h.allow)
	mux.Handle("GET /users", problem.Handler(h.listUsers))
	mux.Handle("/users", problem.NotAllowed(http.MethodGet, http.MethodHead, http.MethodPost))
	mux.Handle("/users/{id}", problem.Handler(h.user))
	mux.Handle("POST /users/reset", problem.Handler(h.reset))
	mux.Handle("/users/reset", problem.NotAllowed(http.MethodPost))
	mux.Handle("POST /users/password", problem.Handler(h.choose))
	mux.Handle("/users/password", problem.NotAllowed(http.MethodPost))
	mux.Handle("GET /users/me", problem.Handler(h.showMe))
	mux.Handle("DELETE /users/me", problem.Handler(h.deleteMe))
	mux.Handle("/users/me", problem.NotAllowed(http.MethodGet, http.MethodHead, http.MethodDelete))
	mux.Handle("PUT /users/me/password", problem.Handler(h.setPassword))
	mux.Handle("/users/me/password", problem.NotAllowed(http.MethodPut))
	mux.Handle("GET /users/me/keys", problem.Handler(h.listKeys))
	mux.Handle("POST /users/me/keys", problem.Handler(h.makeKey))
	mux.Handle("/users/me/keys", problem.NotAllowed(http.MethodGet, http.MethodHead, http.MethodPost))
	mux.Handle("DELETE /users/me/keys/{id}", problem.Handler(h.endKey))
	mux.Handle("/users/me/keys/{id}", problem.NotAllowed(http.MethodDelete))
	mux.HandleFunc("/users/deleted", problem.NoSuchRoute) // nobody has this for an id
	signed := func(f problem.Handler) http.Handler {
		return eventing.Authenticated([]byte(h.cfg.EventSecret), "login", f)
	}
	mux.Handle("GET /users/deleted", signed(h.deletions))
	mux.Handle("DELETE /users/deleted/{id}", signed(h.swept))
	mux.Handle("GET /.well-known/jwks.json", problem.Handler(h.jwks))
	mux.Handle("/.well-known/jwks.json", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("GET /.well-known/tokens-after", problem.Handler(h.tokensAfter))
	mux.Handle("/.well-known/tokens-after", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	from := h.network(r)
	if eventing.IsEvent(r) {
		h.events(r, from).ServeHTTP(w, r)
		return
	}
	problem.Handler(func(w http.ResponseWriter, r *http.Request) error { return h.post(w, r, from) }).ServeHTTP(w, r)
}

// post answers with the bare token and no line break: a script takes all of the body for the token.
func (h *handler) post(w http.ResponseWriter, r *http.Request, from string) error {
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
	issued, err := h.issue(r, from, email, password)
	if err != nil {
		return answer(err)
	}
	return give(w, r, issued)
}

func give(w http.ResponseWriter, r *http.Request, issued TokenIssued) error {
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(issued)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, issued.AccessToken)
	return nil
}

// issue gives a token to the owner of the credentials. account.ErrCredentials and *account.WaitError are the faults
// of the client.
func (h *handler) issue(r *http.Request, from string, email, password string) (TokenIssued, error) {
	now := h.now()
	u, err := h.users.Authenticate(r.Context(), email, password, from)
	h.audit(r, "login", u.ID, u.ID, err)
	if err != nil {
		return TokenIssued{}, err
	}
	return h.sign(u, now)
}

// sign makes a token for a user who showed the password at the given time. Where the user's tokens were ended within
// this second, it is given in the next one, which is the first that counts.
func (h *handler) sign(u account.User, authenticated time.Time) (TokenIssued, error) {
	c := claimsOf(u)
	c.AuthTime, c.IssuedAt = jwt.NewNumericDate(authenticated), jwt.NewNumericDate(time.Unix(u.TokensAfter, 0))
	raw, err := h.signer.Sign(c)
	if err != nil {
		return TokenIssued{}, err
	}
	return TokenIssued{AccessToken: raw, TokenType: "Bearer", ExpiresIn: int(h.signer.TTL().Seconds())}, nil
}

// bearer gives the user of a request's token, by what the store knows now.
func (h *handler) bearer(r *http.Request) (account.User, token.Claims, error) {
	c, err := token.FromRequest(r, h.verifier)
	if err != nil {
		return account.User{}, c, err
	}
	if c.Scope != "" {
		return account.User{}, c, token.Insufficient("")
	}
	u, err := h.users.ByID(r.Context(), c.Subject)
	switch {
	case errors.Is(err, account.ErrNotFound) || err == nil && (u.Disabled || !c.GivenSince(u.TokensAfter)):
		return u, c, token.Refused(token.ErrEnded)
	case err != nil:
		return u, c, answer(err)
	}
	return u, c, nil
}

// exchanged is how long a token is valid that an API key was exchanged for: soon after the key, it ends.
const exchanged = time.Minute

// exchange gives a token for an API key, to functions that know no keys.
func (h *handler) exchange(w http.ResponseWriter, r *http.Request, key string) error {
	c, err := Local{h.users}.Key(r.Context(), key)
	if errors.Is(err, token.ErrKey) {
		return token.Refused(err)
	}
	if err != nil {
		return answer(err)
	}
	c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(exchanged))
	raw, err := h.signer.Sign(c)
	if err != nil {
		return err
	}
	return give(w, r, TokenIssued{AccessToken: raw, TokenType: "Bearer", ExpiresIn: int(exchanged.Seconds())})
}

// refresh gives a new token for one that is still valid, or for an API key.
func (h *handler) refresh(w http.ResponseWriter, r *http.Request) error {
	if raw := token.Bearer(r); strings.HasPrefix(raw, token.KeyPrefix) {
		return h.exchange(w, r, raw)
	}
	u, c, err := h.bearer(r)
	if err != nil {
		return err
	}
	if c.AuthTime == nil || h.now().Sub(c.AuthTime.Time) > h.cfg.Session {
		return token.Refused(fmt.Errorf("the password was shown more than %v ago: %w", h.cfg.Session, token.ErrEnded))
	}
	issued, err := h.sign(u, c.AuthTime.Time)
	if err != nil {
		return err
	}
	return give(w, r, issued)
}

// tokensAfter publishes whose tokens were ended, so that others refuse them.
func (h *handler) tokensAfter(w http.ResponseWriter, r *http.Request) error {
	since, err := strconv.ParseInt(cmp.Or(r.URL.Query().Get("since"), "0"), 10, 64)
	if err != nil {
		return problem.New(problem.Invalid, "since=%q: want a Unix time in seconds", r.URL.Query().Get("since"))
	}
	after, now, err := h.users.TokensAfter(r.Context(), since)
	if err != nil {
		return answer(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(token.Ended{Now: now, TokensAfter: after})
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

func readCredentials(w http.ResponseWriter, r *http.Request) (c credentials, err error) {
	err = readBody(w, r, &c)
	return c, err
}

func unauthenticated(p *problem.Error) *problem.Error {
	return p.With("WWW-Authenticate", `Basic realm="soundstrip"`)
}

// answer turns an error into what the client is told.
func answer(err error) error {
	var wait *account.WaitError
	var rule account.RuleError
	switch {
	case errors.Is(err, account.ErrCredentials):
		return unauthenticated(problem.Wrap(err, problem.Unauthenticated, "%v", account.ErrCredentials))
	case errors.As(err, &wait):
		return problem.Wrap(err, problem.TooMany, "too many attempts: wait before the next").RetryAfter(wait.For)
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
