// Package jobs shows people their jobs; starts, ends and deletes them; and gives out the MP3s.
package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	source   = "/soundstrip/jobs"
	comeBack = 5 * time.Second // when a store that is away is worth another try

	defaultLimit = 50 // jobs a page
	maxLimit     = 200
)

// Store is the part of [job.Store] that this function needs.
type Store interface {
	Get(ctx context.Context, id string) (job.Job, error)
	FindMP3(ctx context.Context, fid string) (job.Job, error)
	List(ctx context.Context, q job.Query) ([]job.Job, error)
	Changed(ctx context.Context, owner string, since time.Time, limit int) ([]job.Job, error)
	Queued(ctx context.Context, id string) error
	Cancel(ctx context.Context, id string) (job.Job, error)
	Retry(ctx context.Context, id string) (job.Job, error)
	Delete(ctx context.Context, id string) error
}

// Sender sends events to the broker.
type Sender interface {
	Send(ctx context.Context, e event.Event) error
}

type server struct {
	jobs         Store
	feeds        job.Feeds
	webhooks     job.Webhooks
	videos, mp3s media.Store
	events       Sender
	links        token.Links
	public       string // address of the gateway, without a slash at its end; empty when the request tells
	legacy       bool   // as in Config
	watch        watch
	sums         *sums
	proxies      eventing.ProxyConfig
}

// New serves
//
//	GET /jobs                the bearer's jobs, newest first: ?state= ?limit= ?before=; an admin may ask for another's by
//	                         ?owner=ID, and for everyone's by ?owner=*
//	GET /jobs/{id}           one job
//	GET /jobs/events         the bearer's jobs as they change, as server-sent events: ?owner= as above
//	GET /jobs/{id}/events    one job as it changes
//	POST /jobs/{id}/retry    starts a failed or cancelled job anew
//	POST /jobs/{id}/cancel   ends an unfinished job
//	DELETE /jobs/{id}        deletes a job with its video and MP3, and ends it before when it is unfinished
//	POST /jobs/delete        the same for each of several jobs: {"ids": […]} or id=, repeated
//	GET /jobs/{id}/mp3       the MP3 of a job, also without a token by a link
//	POST /jobs/{id}/link     makes such a link: ?for=
//	GET /jobs/mp3s.zip       several MP3s as one file: ?id=, repeated, or ?state=converted for all of the bearer's
//	GET /jobs/{id}/audio.mp3 the same, for players that want an address to end like this
//	POST /users/me/feed      gives the bearer's podcast a new secret address; DELETE ends it
//	GET /feeds/{secret}.xml  the podcast: RSS of whoever has the address
//	PUT /users/me/webhook    sets the bearer's webhook, for jobs that have none: {"url": …}; GET shows it, DELETE ends it
//	GET /download?fid=       the MP3 with the id
func New(
	jobs Store, feeds job.Feeds, webhooks job.Webhooks, videos, mp3s media.Store, events Sender, v token.Verifier,
	c Config,
) http.Handler {
	s := &server{
		jobs: jobs, feeds: feeds, webhooks: webhooks, videos: videos, mp3s: mp3s, events: events,
		links: token.NewLinks(c.Link), public: strings.TrimRight(c.PublicURL, "/"), legacy: c.Legacy,
		watch: watch{jobs: jobs, clients: telemetry.Count("soundstrip.sse.clients")}, sums: newSums(), proxies: c.Proxies,
	}
	mux := serve.NewMux()
	for pattern, h := range map[string]problem.Handler{
		"GET /jobs":                s.list,
		"GET /jobs/{id}":           s.show,
		"GET /jobs/events":         s.stream,
		"GET /jobs/{id}/events":    s.stream,
		"POST /jobs/{id}/retry":    s.retry,
		"POST /jobs/{id}/cancel":   s.cancel,
		"DELETE /jobs/{id}":        s.delete,
		"POST /jobs/delete":        s.deleteMany,
		"POST /jobs/{id}/link":     s.link,
		"GET /jobs/mp3s.zip":       s.zip,
		"GET /download":            s.download,
		"POST /users/me/feed":      s.makeFeed,
		"DELETE /users/me/feed":    s.endFeed,
		"PUT /users/me/webhook":    s.setWebhook,
		"GET /users/me/webhook":    s.showWebhook,
		"DELETE /users/me/webhook": s.endWebhook,
	} {
		scope := ""
		if strings.HasPrefix(pattern, "GET /jobs") || strings.HasPrefix(pattern, "GET /download") {
			scope = token.Read
		}
		mux.Handle(pattern, token.Required(v, scope, h))
	}
	mp3 := s.byLink(token.Required(v, token.Read, problem.Handler(s.mp3)))
	mux.Handle("GET /jobs/{id}/mp3", mp3)
	mux.Handle("GET /jobs/{id}/audio.mp3", mp3)
	mux.Handle("GET /feeds/{file}", problem.Handler(s.feed))
	mux.Handle("/jobs", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/jobs/{id}", problem.NotAllowed(http.MethodGet, http.MethodHead, http.MethodDelete))
	mux.Handle("/jobs/{id}/events", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/jobs/{id}/retry", problem.NotAllowed(http.MethodPost))
	mux.Handle("/jobs/{id}/cancel", problem.NotAllowed(http.MethodPost))
	mux.Handle("/jobs/{id}/link", problem.NotAllowed(http.MethodPost))
	mux.Handle("/jobs/{id}/mp3", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/jobs/{id}/audio.mp3", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/users/me/feed", problem.NotAllowed(http.MethodPost, http.MethodDelete))
	mux.Handle("/users/me/webhook",
		problem.NotAllowed(http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete))
	mux.Handle("/feeds/{file}", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.Handle("/download", problem.NotAllowed(http.MethodGet, http.MethodHead))
	mux.HandleFunc("/", problem.NoSuchRoute)
	return mux
}

// view is what a client sees of a job: not which worker had it, nor its lease.
type view struct {
	job.Job
	Attempts []attempt `json:"attempts,omitempty"`
	Links    job.Links `json:"links"`
}

type attempt struct {
	From  time.Time  `json:"from"`
	To    *time.Time `json:"to,omitempty"`
	Error string     `json:"error,omitempty"`
}

func viewOf(j job.Job) view {
	v := view{Job: j, Links: j.Links()}
	for _, a := range j.Attempts {
		v.Attempts = append(v.Attempts, attempt{From: a.From, To: a.To, Error: a.Error})
	}
	return v
}

func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	q, err := s.parseQuery(r)
	if err != nil {
		return err
	}
	limit := q.Limit
	q.Limit++ // whether there is a next page
	found, err := s.jobs.List(r.Context(), q)
	if err != nil {
		return unavailable(fmt.Errorf("list jobs: %w", err))
	}
	page := struct {
		Jobs []view `json:"jobs"`
		Next string `json:"next,omitempty"` // for ?before=
	}{Jobs: []view{}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = found[limit-1].ID
	}
	for _, j := range found {
		page.Jobs = append(page.Jobs, viewOf(j))
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

func (s *server) parseQuery(r *http.Request) (job.Query, error) {
	v, c := r.URL.Query(), token.FromContext(r.Context())
	q := job.Query{Owner: cmp.Or(v.Get("owner"), c.Owner()), State: job.State(v.Get("state")), Before: v.Get("before"),
		Limit: defaultLimit}
	if !c.May(q.Owner) {
		return q, problem.New(problem.Forbidden, "only an admin may list the jobs of others")
	}
	s.seen(r, q.Owner, "jobs of "+problem.Cut(q.Owner))
	if q.Owner == "*" && c.IsAdmin() {
		q.Owner = ""
	}
	if q.State != "" && !slices.Contains(job.States, q.State) {
		return q, problem.New(problem.Invalid, "there is no state %q: the states are %v", q.State, job.States)
	}
	if q.Before != "" && !media.ValidID(q.Before) {
		return q, problem.New(problem.Invalid, "before=%q is no id: give the next of the page before", q.Before)
	}
	if limit := v.Get("limit"); limit != "" {
		var err error
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			return q, problem.New(problem.Invalid, "limit=%q: want a number from 1 to %d", limit, maxLimit)
		}
	}
	return q, nil
}

func (s *server) show(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewOf(j))
	return nil
}

func (s *server) retry(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	if !j.State.Retryable() {
		return notRetryable(j.State)
	}
	video, err := s.videos.Open(r.Context(), j.ID)
	switch {
	case errors.Is(err, media.ErrNotFound):
		return notKept()
	case err != nil:
		return unavailable(fmt.Errorf("open video %s: %w", j.ID, err))
	}
	defer video.Close()
	started, err := s.jobs.Retry(r.Context(), j.ID)
	switch {
	case errors.Is(err, job.ErrState) && started.Video.Deleted: // by a sweep, meanwhile
		return notKept()
	case errors.Is(err, job.ErrState):
		return notRetryable(j.State)
	case err != nil:
		return fault("retry", j.ID, err)
	}
	started = job.Emit(r.Context(), source, started, s.jobs, s.events)
	writeJSON(w, http.StatusAccepted, viewOf(started))
	return nil
}

func notKept() error {
	return problem.New(problem.Gone, "the video is not kept any more: upload it again")
}

func notRetryable(state job.State) error {
	return problem.New(problem.Conflict, "the job is %s: only a failed or cancelled one can be started anew", state)
}

func (s *server) cancel(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	cancelled, err := s.jobs.Cancel(r.Context(), j.ID)
	switch {
	case errors.Is(err, job.ErrState):
		return problem.New(problem.Conflict, "the job is finished: there is nothing to cancel")
	case err != nil:
		return fault("cancel", j.ID, err)
	}
	writeJSON(w, http.StatusAccepted, viewOf(cancelled))
	return nil
}

// job gives the job that the path names, if it is the bearer's to see.
func (s *server) job(r *http.Request) (job.Job, error) {
	j, err := s.jobs.Get(r.Context(), r.PathValue("id"))
	switch {
	case err != nil:
		return j, fault("get", r.PathValue("id"), err)
	case !token.FromContext(r.Context()).May(j.Owner):
		return j, fault("get", r.PathValue("id"), job.ErrNotFound) // nobody learns which jobs there are
	}
	s.seen(r, j.Owner, j.ID)
	return j, nil
}

// seen has it on record when an admin looks at what is another's.
func (s *server) seen(r *http.Request, owner, what string) {
	if c := token.FromContext(r.Context()); owner != c.Owner() {
		s.proxies.Audit(r, "admin.looked", what, c.Subject, "ok")
	}
}

// fault tells the client why something could not be done to a job.
func fault(doing, id string, err error) error {
	if errors.Is(err, job.ErrNotFound) {
		return problem.New(problem.NotFound, "there is no job %q: GET /jobs lists yours", problem.Cut(id))
	}
	return unavailable(fmt.Errorf("%s job %s: %w", doing, id, err))
}

func unavailable(err error) error {
	return problem.Wrap(err, problem.Unavailable,
		"the store cannot be reached at the moment: try again later").RetryAfter(comeBack)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // an address is to be as it is
	_ = e.Encode(v)
}
