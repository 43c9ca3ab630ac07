package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	// poll is how often the store is asked for what has changed.
	poll = 500 * time.Millisecond
	// late is how long after its time a change may become visible.
	late = 2 * time.Second
	// quiet is how long nothing may be written to a stream: proxies end a connection that is idle for long.
	quiet = 15 * time.Second
	// streamFor is how long a stream may last, so that it ends behind a whole event before Knative breaks it off
	// (timeoutSeconds in config). The client then makes another.
	streamFor = 540 * time.Second
	// backlog is how many changes a client may be behind before it is dropped.
	backlog = 64
	// changes is how many jobs are read at once.
	changes = 200
)

// watch tells all streams of a process what changes, by one poller, which runs as long as there is a stream.
type watch struct {
	jobs    Store
	clients telemetry.Instrument

	mu      sync.Mutex
	streams map[*stream]bool
	begun   chan struct{} // closed when the poller knows what has changed before
	stop    context.CancelFunc
}

// stream is one client's.
type stream struct {
	owner, id string // of the jobs; empty means any
	changes   chan snapshot
}

// snapshot is a job at a time, as one server-sent event.
type snapshot struct {
	job  job.Job
	data []byte
}

func snapshotOf(j job.Job) (snapshot, error) {
	data, err := json.Marshal(viewOf(j))
	return snapshot{j, data}, err
}

// write sends it. The id is the time of the change in milliseconds since 1970.
func (e snapshot) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "id: %d\nevent: job\ndata: %s\n\n", e.job.Updated.UnixMilli(), e.data)
	return err
}

func (s *stream) wants(j *job.Job) bool {
	return (s.owner == "" || s.owner == j.Owner) && (s.id == "" || s.id == j.ID)
}

// add begins a stream, which gets every change from when this returns until it is removed.
func (w *watch) add(ctx context.Context, s *stream) error {
	w.mu.Lock()
	if w.streams == nil {
		w.streams = map[*stream]bool{}
	}
	if len(w.streams) == 0 {
		polling, stop := context.WithCancel(context.Background())
		w.begun, w.stop = make(chan struct{}), stop
		go w.poll(polling, w.begun)
	}
	w.streams[s] = true
	w.clients.Add(ctx, 1)
	begun := w.begun
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	select {
	case <-begun:
		return nil
	case <-ctx.Done():
		w.remove(s)
		return unavailable(fmt.Errorf("look for changes of jobs: %w", ctx.Err()))
	}
}

func (w *watch) remove(s *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams[s] {
		w.drop(s)
	}
}

// drop is for who holds the lock, and a stream that is there.
func (w *watch) drop(s *stream) {
	delete(w.streams, s)
	w.clients.Add(context.Background(), -1)
	if len(w.streams) == 0 {
		w.stop()
	}
}

// tell gives a snapshot to the streams that want it. One that does not take it is ended: its client comes again, and
// says what it has.
func (w *watch) tell(e snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.streams {
		if !s.wants(&e.job) {
			continue
		}
		select {
		case s.changes <- e:
		default:
			close(s.changes)
			w.drop(s)
		}
	}
}

// poll tells what changes until its context ends. What has changed a minute before it began, and since, by the store's
// clock, is no news.
func (w *watch) poll(ctx context.Context, begun chan<- struct{}) {
	known := map[string]snapshot{} // what has changed of late, as it was told
	since, news := time.Now().Add(-time.Minute), false
	for {
		err := changed(ctx, w.jobs, "", since, func(j job.Job) error {
			e, err := snapshotOf(j)
			if err != nil {
				return err
			}
			if string(known[j.ID].data) != string(e.data) {
				known[j.ID] = e
				if news {
					w.tell(e)
				}
			}
			if before := j.Updated.Add(-late); before.After(since) {
				since = before
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "changes of jobs not read", "error", err)
		}
		for id, e := range known {
			if e.job.Updated.Before(since) {
				delete(known, id)
			}
		}
		if err == nil && !news {
			news = true
			close(begun)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return
		}
	}
}

// changed calls f for each job of the owner that changed at the time or later, in that order.
func changed(ctx context.Context, jobs Store, owner string, since time.Time, f func(job.Job) error) error {
	for limit := changes; ; {
		found, err := jobs.Changed(ctx, owner, since, limit)
		if err != nil {
			return err
		}
		for _, j := range found {
			if err := f(j); err != nil {
				return err
			}
		}
		switch {
		case len(found) < limit:
			return nil
		case found[limit-1].Updated.After(since):
			since, limit = found[limit-1].Updated, changes
		default:
			limit *= 2 // they all changed within one millisecond
		}
	}
}

// stream sends a snapshot of each job whenever it changes, as server-sent events (HTML Living Standard, section 9.2).
// The stream of one job begins with it as it is; that of all jobs with those that changed since the Last-Event-ID.
func (s *server) stream(w http.ResponseWriter, r *http.Request) error {
	q, err := s.parseQuery(r)
	if err != nil {
		return err
	}
	since, err := lastEvent(r)
	if err != nil {
		return err
	}
	st := &stream{owner: q.Owner, id: r.PathValue("id"), changes: make(chan snapshot, backlog)}
	if st.id != "" {
		if _, err := s.job(r); err != nil {
			return err
		}
		st.owner = ""
	}
	if err := s.watch.add(r.Context(), st); err != nil {
		return err
	}
	defer s.watch.remove(st)
	var missed []job.Job
	if st.id != "" {
		j, err := s.job(r)
		if err != nil {
			return err
		}
		missed = append(missed, j)
	} else if !since.IsZero() {
		err := changed(r.Context(), s.jobs, st.owner, since.Add(-late), func(j job.Job) error {
			missed = append(missed, j)
			return nil
		})
		if err != nil {
			return unavailable(fmt.Errorf("read changes of jobs: %w", err))
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // to nginx
	if r.Method != http.MethodHead {
		st.serve(w, r, missed)
	}
	return nil
}

// serve writes until the client goes, is too slow, or the time is over.
func (s *stream) serve(w http.ResponseWriter, r *http.Request, missed []job.Job) {
	c := http.NewResponseController(w)
	if _, err := fmt.Fprintf(w, "retry: %d\n\n", (2 * time.Second).Milliseconds()); err != nil {
		return
	}
	for _, j := range missed {
		e, err := snapshotOf(j)
		if err != nil || e.write(w) != nil {
			return
		}
	}
	lasts := streamFor
	if expires := token.FromContext(r.Context()).ExpiresAt; expires != nil {
		lasts = min(lasts, time.Until(expires.Time))
	}
	end, comment := time.NewTimer(lasts), time.NewTicker(quiet)
	defer end.Stop()
	defer comment.Stop()
	for c.Flush() == nil {
		select {
		case e, ok := <-s.changes:
			if !ok || e.write(w) != nil {
				return
			}
		case <-comment.C:
			if _, err := io.WriteString(w, ":\n\n"); err != nil {
				return
			}
		case <-end.C:
			return
		case <-serve.Ending(r.Context()):
			return
		case <-r.Context().Done():
			return
		}
	}
}

// lastEvent is the time of the last change that the client knows; zero when it knows none.
func lastEvent(r *http.Request) (time.Time, error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return time.Time{}, problem.Wrap(err, problem.Invalid, "Last-Event-ID %q is none of ours: leave it out", id)
	}
	return time.UnixMilli(ms), nil
}
