package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// mp3 gives the MP3 of the job that the path names.
func (s *server) mp3(w http.ResponseWriter, r *http.Request) error {
	j, err := s.job(r)
	if err != nil {
		return err
	}
	return s.serve(w, r, j)
}

// download gives the MP3 that the query names, as the old system did.
func (s *server) download(w http.ResponseWriter, r *http.Request) error {
	fid := strings.ToLower(r.URL.Query().Get("fid"))
	switch {
	case fid == "":
		return problem.New(problem.Invalid,
			"fid is missing: GET /download?fid=ID, with the id that the notice of your MP3 names")
	case !media.ValidID(fid):
		return problem.New(problem.Invalid, "fid=%q is malformed: an id has 24 hex digits", problem.Cut(fid))
	}
	j, err := s.jobs.FindMP3(r.Context(), fid)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return s.serveStray(w, r, fid)
	case err != nil:
		return unavailable(fmt.Errorf("find job of MP3 %s: %w", fid, err))
	case !token.FromContext(r.Context()).May(j.Owner):
		return noMP3(fid)
	}
	s.seen(r, j.Owner, j.ID)
	return s.serve(w, r, j)
}

// serveStray gives an MP3 that has no job, because the old system made it. It does not say whose it is, so only an
// admin may have it, and beside the old system everyone with a token.
func (s *server) serveStray(w http.ResponseWriter, r *http.Request, fid string) error {
	f, err := s.mp3s.Open(r.Context(), fid)
	switch {
	case errors.Is(err, media.ErrNotFound):
		return noMP3(fid)
	case err != nil:
		return unavailable(fmt.Errorf("open MP3 %s: %w", fid, err))
	}
	defer f.Close()
	if !token.FromContext(r.Context()).IsAdmin() && (!s.legacy || f.Info().Owner != "") {
		return noMP3(fid)
	}
	serveFile(w, r, f, cmp.Or(f.Info().Name, fid), f.Info().SHA256)
	return nil
}

// noMP3 is also the answer for another's: nobody learns which there are.
func noMP3(fid string) error {
	return problem.New(problem.NotFound, "there is no MP3 %s that is known to be yours", fid)
}

// missing says why a job has no MP3; nil when it has one.
func missing(j job.Job) error {
	switch {
	case j.State == job.Expired:
		return gone()
	case j.MP3 != nil:
		return nil
	case j.State == job.Failed && j.Error != nil:
		return problem.New(problem.Conflict, "there is no MP3: the conversion failed: %s", j.Error.Message)
	case j.State.Finished():
		return problem.New(problem.Conflict, "there is no MP3: the job is %s", j.State)
	default:
		return problem.New(problem.NotFound, "the MP3 is not ready: the job is %s, %d percent done", j.State, j.Progress)
	}
}

// serve gives the MP3 of a job, or says why there is none.
func (s *server) serve(w http.ResponseWriter, r *http.Request, j job.Job) error {
	if err := missing(j); err != nil {
		return err
	}
	f, err := s.open(r.Context(), j.MP3.FID)
	if err != nil {
		return err
	}
	defer f.Close()
	serveFile(w, r, f, cmp.Or(j.Filename, j.MP3.FID), cmp.Or(j.MP3.SHA256, f.Info().SHA256))
	return nil
}

func (s *server) open(ctx context.Context, fid string) (media.File, error) {
	f, err := s.mp3s.Open(ctx, fid)
	switch {
	case errors.Is(err, media.ErrNotFound):
		return nil, gone()
	case err != nil:
		return nil, unavailable(fmt.Errorf("open MP3 %s: %w", fid, err))
	}
	return f, nil
}

func gone() error {
	return problem.New(problem.Gone, "the MP3 is not kept any more: upload the video again")
}

// serveFile answers with the file, with a range of it (Range), or with 304 when the client has it (If-None-Match). A
// file never changes, so its hash, or else its id, is a strong validator.
func serveFile(w http.ResponseWriter, r *http.Request, f media.File, name, sha256 string) {
	h := w.Header()
	h.Set("Content-Type", "audio/mpeg")
	h.Set("Content-Disposition", attachment(strings.TrimSuffix(name, path.Ext(name))+".mp3"))
	h.Set("ETag", `"`+cmp.Or(sha256, f.Info().ID)+`"`)
	h.Set("Cache-Control", "private, no-cache") // kept by the browser, shown again only to who may have it
	h.Set("X-Content-Type-Options", "nosniff")
	serveContent(w, r, f.Info().Uploaded, f)
}

// serveContent is [http.ServeContent], which gives the last no bytes as a range that ends before it begins. Such a
// range cannot be satisfied (RFC 9110, section 14.1.2), as one that begins behind all files.
func serveContent(w http.ResponseWriter, r *http.Request, modified time.Time, content io.ReadSeeker) {
	if pieces := r.Header.Get("Range"); lastNone.MatchString(pieces) {
		r = r.Clone(r.Context())
		r.Header.Set("Range", lastNone.ReplaceAllString(pieces, "${1}9223372036854775807-"))
	}
	http.ServeContent(w, r, "", modified, content)
}

var lastNone = regexp.MustCompile(`([=,]\s*)-\s*[+]?0+\b`)

// attachment names a file in a Content-Disposition (RFC 6266, appendix D). The name is in ASCII, for clients such as
// curl that know nothing else, and in UTF-8 when that differs.
func attachment(name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\/%`, r) {
			return '_'
		}
		return r
	}, name)
	if ascii == name {
		return `attachment; filename="` + ascii + `"`
	}
	// PathEscape leaves some characters that RFC 8187, section 3.2.1, wants encoded.
	encoded := url.PathEscape(strings.ToValidUTF8(name, "\uFFFD"))
	encoded = strings.NewReplacer(":", "%3A", "=", "%3D", "@", "%40").Replace(encoded)
	return `attachment; filename="` + ascii + `"; filename*=UTF-8''` + encoded
}
