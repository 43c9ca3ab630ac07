package jobs

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// link makes an address by which whoever has it gets the MP3 without a token, until it ends.
func (s *server) link(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	if err := missing(j); err != nil {
		return err
	}
	wanted := cmp.Or(r.URL.Query().Get("for"), "1d")
	p, err := job.ParsePeriod(wanted)
	d := time.Duration(p)
	if err != nil || d < time.Second || d > token.MaxLink {
		return problem.New(problem.Invalid, "for=%q: want a time from 1s to 30d, such as 90m, 12h or 7d", wanted)
	}
	ends := time.Now().UTC().Add(d).Truncate(time.Second)
	address := s.signed(j, j.Links().MP3, ends)
	w.Header().Set("Location", address)
	writeJSON(w, http.StatusCreated, struct {
		URL     string    `json:"url"`
		Expires time.Time `json:"expires"`
	}{address, ends})
	return nil
}

// signed makes a link of an address of the job's MP3.
func (s *server) signed(j job.Job, address string, ends time.Time) string {
	return address + "?" + s.links.Sign(j.ID, j.MP3.FID, ends)
}

// byLink leaves requests without a signature to next. Those with one get the MP3 if that is right, whoever they are
// from.
func (s *server) byLink(next http.Handler) http.Handler {
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		query := r.URL.Query()
		if !query.Has("signature") {
			next.ServeHTTP(w, r)
			return nil
		}
		j, err := s.jobs.Get(r.Context(), r.PathValue("id"))
		if err != nil && !errors.Is(err, job.ErrNotFound) {
			return fault("get", r.PathValue("id"), err)
		}
		err = token.ErrLink // also of a job that is not there: nobody learns by a wrong link which there are
		if j.MP3 != nil {
			err = s.links.Verify(j.ID, j.MP3.FID, query)
		}
		switch {
		case errors.Is(err, token.ErrLinkEnded):
			return problem.Wrap(err, problem.Gone, "the link has ended: ask for a new one where you have it from")
		case err != nil:
			return problem.Wrap(err, problem.Forbidden, "the link is not valid: it is not as it was made, or its MP3 was "+
				"deleted; ask for a new one where you have it from")
		}
		return s.serve(w, r, j)
	})
}
