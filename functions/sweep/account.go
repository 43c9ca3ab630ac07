package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// Deletion is an account that is gone, and whose files are to go.
type Deletion struct {
	ID    string `json:"id"`    // of the user
	Owner string `json:"owner"` // what the files are kept by
}

// Deletions tells of accounts that were deleted.
type Deletions interface {
	Deletions(ctx context.Context) ([]Deletion, error)
	// Swept takes the word that there are no files of the user any more.
	Swept(ctx context.Context, id string) error
}

// Accounts is what the sweep needs to remove what deleted accounts have left.
type Accounts struct {
	Deleted  Deletions
	Feeds    job.Feeds
	Webhooks job.Webhooks
}

// WithAccounts has the sweeper remove what deleted accounts have left, too.
func (s *Sweeper) WithAccounts(a Accounts) *Sweeper {
	s.accounts = &a
	return s
}

// forget removes the jobs, files, podcasts and webhooks of deleted accounts. Their uploads end by themselves. An
// account stays in the list for a day, for what was on its way when it was deleted.
func (s *Sweeper) forget(ctx context.Context, r *Report) error {
	if s.accounts == nil {
		return nil
	}
	deleted, err := s.accounts.Deleted.Deletions(ctx)
	if err != nil {
		return fmt.Errorf("ask for deleted accounts: %w", err)
	}
	var errs []error
	for _, d := range deleted {
		if err := s.forgetOne(ctx, d, r); err != nil {
			errs = append(errs, fmt.Errorf("remove what deleted user %s has left: %w", d.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Sweeper) forgetOne(ctx context.Context, d Deletion, r *Report) error {
	if d.Owner == "" {
		return errors.New("the owner is missing: to the store that means everyone")
	}
	err := errors.Join(s.accounts.Feeds.End(ctx, d.Owner), s.accounts.Webhooks.End(ctx, d.Owner))
	if err != nil {
		return err
	}
	for {
		left, err := s.jobs.List(ctx, job.Query{Owner: d.Owner, Limit: page})
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return s.accounts.Deleted.Swept(ctx, d.ID)
		}
		for _, j := range left {
			if err := job.Remove(ctx, s.jobs, s.videos, s.mp3s, j); err != nil && !errors.Is(err, job.ErrNotFound) {
				return fmt.Errorf("job %s: %w", j.ID, err)
			}
			r.Forgotten++
		}
	}
}

// LoginConfig says where login is, which knows the accounts that were deleted. Without it, their files stay.
type LoginConfig struct {
	URL string `env:"LOGIN_URL"`
}

// Validate reports a URL that nothing can be asked at.
func (c LoginConfig) Validate() error {
	u, err := url.Parse(c.URL)
	if c.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("LOGIN_URL is %q: want an http or https URL", c.URL)
	}
	return nil
}

// Deletions asks login, with the secret that events are signed with.
func (c LoginConfig) Deletions(secret string) Deletions {
	return remote{url: c.URL, secret: []byte(secret), client: &http.Client{Timeout: time.Minute,
		Transport: telemetry.Transport(nil)}}
}

type remote struct {
	url    string
	secret []byte
	client *http.Client
}

func (l remote) Deletions(ctx context.Context) ([]Deletion, error) {
	var said struct{ Deleted []Deletion }
	err := l.do(ctx, http.MethodGet, "/users/deleted", &said)
	return said.Deleted, err
}

func (l remote) Swept(ctx context.Context, id string) error {
	return l.do(ctx, http.MethodDelete, "/users/deleted/"+url.PathEscape(id), nil)
}

// maxSaid is the most, in bytes, that is read of an answer.
const maxSaid = 64 << 20

func (l remote) do(ctx context.Context, method, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, l.url+path, http.NoBody)
	if err != nil {
		return err
	}
	if err := eventing.Authorize(r, l.secret, "login"); err != nil {
		return err
	}
	resp, err := l.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s answers %s", l.url, resp.Status)
	case into == nil:
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxSaid)).Decode(into)
}
