package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// OIDCConfig says which OpenID provider people may sign on at.
type OIDCConfig struct {
	Issuer       string `env:"OIDC_ISSUER"` // its address; without it there is none
	ClientID     string `env:"OIDC_CLIENT_ID"`
	ClientSecret string `env:"OIDC_CLIENT_SECRET"`
	// AdminGroup is that of the claim groups whose members are admins, and others not. Without it the provider says
	// nothing about that.
	AdminGroup string `env:"OIDC_ADMIN_GROUP"`
	// PublicURL is the gateway's address, to which the provider sends people back: with /login/oidc/callback.
	PublicURL string `env:"PUBLIC_URL"`
}

// Validate reports what is missing once there is an issuer.
func (c *OIDCConfig) Validate() error {
	if c.Issuer == "" {
		return nil
	}
	var errs []error
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		errs = append(errs, fmt.Errorf("OIDC_ISSUER is %q: want an http or https URL", c.Issuer))
	}
	if c.ClientID == "" {
		errs = append(errs, errors.New("OIDC_CLIENT_ID is not set"))
	}
	if c.PublicURL == "" {
		errs = append(errs, errors.New("PUBLIC_URL is not set: the provider sends people back there"))
	}
	return errors.Join(errs...)
}

const (
	// handshakeHolds is how long somebody may take to sign on elsewhere.
	handshakeHolds = 10 * time.Minute
	// providerWithin bounds what is asked of the provider.
	providerWithin = 10 * time.Second
	// The limit of a network's sign-ons.
	signOns     = 60
	everySignOn = time.Second
)

// provider is the OpenID provider. What it publishes of itself is fetched when the first user comes.
type provider struct {
	cfg    OIDCConfig
	client *http.Client

	mu    sync.Mutex // guards known
	known *oidc.Provider
}

func newProvider(cfg OIDCConfig) *provider {
	return &provider{cfg: cfg, client: &http.Client{Timeout: providerWithin,
		Transport: telemetry.Transport(nil)}}
}

// find gives the provider and how to ask it for tokens.
func (p *provider) find(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		// The keys are fetched later by the same client, and not within this request.
		known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.cfg.Issuer)
		if err != nil {
			return nil, nil, err
		}
		p.known = known
	}
	return p.known, &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: p.known.Endpoint(),
		RedirectURL: strings.TrimRight(p.cfg.PublicURL, "/") + "/login/oidc/callback",
		Scopes:      []string{oidc.ScopeOpenID, "email", "profile"},
	}, nil
}

// allowSignOn tells by its header whether there is a provider, so that a page does not offer what is not there.
func (h *handler) allowSignOn(w http.ResponseWriter, _ *http.Request) {
	allowed := http.MethodOptions
	if h.provider.cfg.Issuer != "" {
		allowed = "GET, HEAD, " + allowed
	}
	w.Header().Set("Allow", allowed)
	w.WriteHeader(http.StatusNoContent)
}

// beginSignOn tells where to send a browser, and the state that it must come back with. The gateway keeps the state in
// a cookie, so that nobody signs another's browser on.
func (h *handler) beginSignOn(w http.ResponseWriter, r *http.Request) error {
	if h.provider.cfg.Issuer == "" {
		return problem.New(problem.NotFound, "there is no single sign-on here: log in at POST /login")
	}
	if err := h.users.Take(r.Context(), account.LimitOf("sign-on", signOns, everySignOn, h.network(r))); err != nil {
		return answer(err)
	}
	_, c, err := h.provider.find(r.Context())
	if err != nil {
		return away(err)
	}
	shake := account.Handshake{Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	state, err := h.users.BeginHandshake(r.Context(), shake, handshakeHolds)
	if err != nil {
		return answer(err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"state": state,
		"url": c.AuthCodeURL(state, oidc.Nonce(shake.Nonce), oauth2.S256ChallengeOption(shake.Verifier))})
}

// endSignOn gives a token for the code that a browser came back with.
func (h *handler) endSignOn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Code  string `json:"code"`
		State string `json:"state"`
	}
	if err := readBody(w, r, &in); err != nil {
		return err
	}
	shake, err := h.users.EndHandshake(r.Context(), in.State)
	switch {
	case errors.Is(err, account.ErrNotFound):
		return notSignedOn(err)
	case err != nil:
		return answer(err)
	}
	identity, groups, err := h.provider.identify(r.Context(), in.Code, shake)
	if err != nil {
		h.audit(r, "login", "", "", err)
		return err
	}
	u, err := h.users.ByIdentity(r.Context(), identity)
	if u.Made {
		h.audit(r, "user.made", u.ID, u.ID, err)
	}
	h.audit(r, "login", u.ID, u.ID, err)
	if errors.Is(err, account.ErrCredentials) {
		return notSignedOn(err)
	}
	if err != nil {
		return answer(err)
	}
	if u, err = h.regroup(r, u, groups); err != nil {
		return answer(err)
	}
	issued, err := h.sign(u, h.now())
	if err != nil {
		return err
	}
	return give(w, r, issued)
}

// regroup makes an admin of a user whom the provider has in that group, and none of another.
func (h *handler) regroup(r *http.Request, u account.User, groups []string) (account.User, error) {
	admin := slices.Contains(groups, h.provider.cfg.AdminGroup)
	if h.provider.cfg.AdminGroup == "" || admin == u.Admin {
		return u, nil
	}
	group := "default"
	if admin {
		group = "admin"
	}
	err := h.users.SetGroup(r.Context(), u.Email, group)
	h.audit(r, "user.changed", u.ID, "the OpenID provider", err)
	if err != nil {
		return u, err
	}
	return h.users.ByID(r.Context(), u.ID)
}

// identify exchanges a code for what the provider says of its user.
func (p *provider) identify(
	ctx context.Context, code string, shake account.Handshake,
) (account.Identity, []string, error) {
	var none account.Identity
	known, c, err := p.find(ctx)
	if err != nil {
		return none, nil, away(err)
	}
	ctx = oidc.ClientContext(ctx, p.client)
	given, err := c.Exchange(ctx, code, oauth2.VerifierOption(shake.Verifier))
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) && refused.Response.StatusCode < 500 {
		return none, nil, notSignedOn(err)
	}
	if err != nil {
		return none, nil, away(err)
	}
	raw, _ := given.Extra("id_token").(string)
	t, err := known.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return none, nil, notSignedOn(err)
	}
	if t.Nonce != shake.Nonce {
		return none, nil, notSignedOn(errors.New("the ID token is of another sign-on"))
	}
	var said struct {
		Email    string   `json:"email"`
		Verified bool     `json:"email_verified"`
		Groups   []string `json:"groups"`
	}
	if err := t.Claims(&said); err != nil {
		return none, nil, notSignedOn(err)
	}
	if said.Email == "" || p.cfg.AdminGroup != "" && said.Groups == nil {
		info, err := known.UserInfo(ctx, oauth2.StaticTokenSource(given))
		if err != nil {
			return none, nil, away(err)
		}
		if info.Subject != t.Subject { // OpenID Connect Core 1.0, section 5.3.2
			return none, nil, notSignedOn(errors.New("the user info is of another user"))
		}
		if err := info.Claims(&said); err != nil {
			return none, nil, notSignedOn(err)
		}
	}
	who := account.Identity{Issuer: t.Issuer, Subject: t.Subject, Email: said.Email, Verified: said.Verified}
	return who, said.Groups, nil
}

func notSignedOn(err error) error {
	return problem.Wrap(err, problem.Forbidden, "the sign-on did not succeed: begin anew, or ask an admin")
}

func away(err error) error {
	return problem.Wrap(err, problem.Unavailable,
		"the OpenID provider cannot be reached at the moment: try again").RetryAfter(5 * time.Second)
}
