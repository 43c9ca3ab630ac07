package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	// maxNaming is the length of a body that names a thousand jobs, with room to spare, in bytes.
	maxNaming = 64 << 10
	// deletingFor is how long the deletion of many may take. The gateway waits for an answer for two minutes.
	deletingFor = 90 * time.Second
)

func (s *server) delete(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	if err := s.remove(r.Context(), r, j); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deletion is what became of one of several jobs.
type deletion struct {
	ID     string `json:"id"`
	Result string `json:"result"`           // deleted, not_found or error
	Detail string `json:"detail,omitempty"` // of an error
}

// deleteMany deletes each of the jobs that the body or the query names, as delete does one.
func (s *server) deleteMany(w http.ResponseWriter, r *http.Request) error {
	ids, err := namedIn(w, r)
	switch {
	case err != nil:
		return err
	case len(ids) == 0:
		return problem.New(problem.Invalid, `which jobs? Send {"ids": ["…"]} as application/json, or id=…&id=… as a form`)
	case len(ids) > maxBatch:
		return problem.New(problem.Invalid, "these are %d jobs: delete %d at most at once", len(ids), maxBatch)
	}
	ctx, cancel := context.WithTimeout(r.Context(), deletingFor)
	defer cancel()
	var answer struct {
		Results []deletion `json:"results"`
	}
	for _, id := range ids {
		answer.Results = append(answer.Results, s.deletion(ctx, r, id))
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// namedIn gives the ids in the body of a request, or in its query.
func namedIn(w http.ResponseWriter, r *http.Request) ([]string, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxNaming)
	var body struct {
		IDs []string `json:"ids"`
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var err error
	if kind == "application/json" {
		err = json.NewDecoder(r.Body).Decode(&body)
	} else if err = r.ParseForm(); err == nil {
		body.IDs = r.Form["id"]
	}
	var long *http.MaxBytesError
	var told *problem.Error
	switch {
	case errors.As(err, &long):
		return nil, problem.New(problem.TooLarge,
			"the ids take more than %d bytes: name %d jobs at most", maxNaming, maxBatch)
	case errors.As(err, &told): // the body did not come
		return nil, err
	case err != nil:
		return nil, problem.Wrap(err, problem.Invalid, `the body cannot be read: send {"ids": ["…"]} or a form with id=…`)
	}
	return distinct(body.IDs), nil
}

// deletion deletes a job and says how that went. Another's is not found: who may not see it does not learn of it.
func (s *server) deletion(ctx context.Context, r *http.Request, id string) deletion {
	j, err := s.jobs.Get(ctx, id)
	switch {
	case err == nil && token.FromContext(ctx).May(j.Owner):
		err = s.remove(ctx, r, j)
	case err == nil:
		err = job.ErrNotFound
	}
	if err == nil {
		return deletion{ID: id, Result: "deleted"}
	}
	var told *problem.Error
	if !errors.As(err, &told) {
		errors.As(fault("delete", id, err), &told)
	}
	if told.Code == problem.NotFound {
		return deletion{ID: id, Result: "not_found"}
	}
	slog.ErrorContext(ctx, "job not deleted", "job", id, "error", told)
	return deletion{ID: id, Result: "error", Detail: told.Detail}
}

// remove deletes a job, and has that on record.
func (s *server) remove(ctx context.Context, r *http.Request, j job.Job) error {
	err := job.Remove(ctx, s.jobs, s.videos, s.mp3s, j)
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	s.proxies.Audit(r, "job.deleted", j.ID, token.FromContext(ctx).Subject, outcome)
	if err != nil {
		return fault("delete", j.ID, err)
	}
	return nil
}
