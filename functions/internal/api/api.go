// Package api is the client of the service's HTTP API: it logs in, sends videos by tus, watches jobs and fetches MP3s.
// It tries again for as long as there is hope, and says what the service said otherwise.
package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Error is an answer of the service that is no success.
type Error struct {
	Status int
	Detail string        // what the service says to its client
	After  time.Duration // to wait before another try; 0 when it does not say
}

func (e *Error) Error() string { return e.Detail }

// passing reports whether another try may succeed.
func (e *Error) passing() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= http.StatusInternalServerError && e.Status != http.StatusInsufficientStorage
}

// final reports whether err is an answer that stays the same.
func final(err error) bool {
	said := (*Error)(nil)
	return errors.As(err, &said) && !said.passing()
}

// Client speaks to one service, as one user.
type Client struct {
	// Renewed is told of each token that follows from the one that the client was made with; it may be nil.
	Renewed func(token string)

	base *url.URL
	http *http.Client

	mu    sync.Mutex // guards token, and is held while it is renewed
	token string
}

const (
	patience  = 5 * time.Minute        // how long a client tries without any progress
	firstWait = 500 * time.Millisecond // before the second try; each wait is twice as long as the one before
	longest   = 30 * time.Second       // wait
)

// New makes a client of the service at an http or https address. The token may be empty until it is needed.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		err = errors.New("want http://HOST[:PORT] or https://…")
	}
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", base, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	transport.DisableCompression = true
	return &Client{base: u, token: token, http: &http.Client{Transport: transport}}, nil
}

// Login gives a token.
func (c *Client) Login(ctx context.Context, email, password string) (string, error) {
	r, err := c.request(ctx, http.MethodPost, "/login", nil)
	if err != nil {
		return "", err
	}
	r.Header.Del("Authorization")
	r.SetBasicAuth(email, password)
	res, err := c.do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	token, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return strings.TrimSpace(string(token)), err
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/problem+json, */*")
	if token := c.fresh(ctx); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r, nil
}

// fresh gives the token, or the next one when more than half of its time is over. When there is none, the service says
// so to what is asked by the old one.
func (c *Client) fresh(ctx context.Context) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !HalfOver(c.token, time.Now()) {
		return c.token
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+"/token", nil)
	if err != nil {
		return c.token
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.do(r)
	if err != nil {
		return c.token
	}
	defer res.Body.Close()
	if token, err := io.ReadAll(io.LimitReader(res.Body, 64<<10)); err == nil && len(token) > 0 {
		c.token = string(token)
		if c.Renewed != nil {
			c.Renewed(c.token)
		}
	}
	return c.token
}

// HalfOver reports whether more than half of a token's time is over, and not yet all of it. It trusts no claim: others
// check the token.
func HalfOver(token string, now time.Time) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	var times struct{ Iat, Exp int64 }
	return err == nil && json.Unmarshal(claims, &times) == nil &&
		now.Unix() > times.Iat+(times.Exp-times.Iat)/2 && now.Unix() < times.Exp
}

// do sends a request. What is no 2xx is an *Error.
func (c *Client) do(r *http.Request) (*http.Response, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	e := &Error{Status: res.StatusCode, Detail: strings.TrimSpace(string(said))}
	var problem struct{ Detail string }
	if json.Unmarshal(said, &problem) == nil && problem.Detail != "" {
		e.Detail = problem.Detail
	}
	if e.Detail == "" || bytes.HasPrefix(said, []byte("<")) {
		e.Detail = "the service answers " + res.Status
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		e.After = time.Duration(s) * time.Second
	}
	return nil, e
}

// retry calls try until it succeeds, fails for good, or has made no progress for patience.
func (c *Client) retry(ctx context.Context, try func() (progress bool, err error)) error {
	last, wait := time.Now(), firstWait
	for {
		progress, err := try()
		if err == nil {
			return nil
		}
		if progress {
			last, wait = time.Now(), firstWait
		}
		if final(err) {
			return err
		}
		pause := wait/2 + rand.N(wait) //nolint:gosec // no secret
		if said := (*Error)(nil); errors.As(err, &said) {
			pause = max(pause, said.After)
		}
		if ctx.Err() != nil || time.Since(last)+pause > patience {
			return errors.Join(ctx.Err(), err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}
