package upload

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // a checksum of tus, no secret
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	tusVersion    = "1.0.0"
	tusBase       = "/files/"
	graceFor      = 10 * time.Second // to store what has arrived, when the request has ended
	acquireFor    = 20 * time.Second // to wait for another request to let go of the upload; longer than a lease
	checksumNames = "crc32,md5,sha1,sha256"
)

var checksums = map[string]func() hash.Hash{
	"crc32":  func() hash.Hash { return crc32.NewIEEE() },
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
}

// tus takes a video in several requests. The protocol is tusd's; its stores, errors, checksums and ends are ours.
type tus struct {
	*uploader
	expires  time.Duration
	protocol *handler.UnroutedHandler
}

func newTus(u *uploader, v token.Verifier, expires time.Duration) http.Handler {
	t := &tus{uploader: u, expires: expires}
	parts := handler.NewStoreComposer()
	parts.UseCore(t)
	parts.UseLocker(t)
	parts.UseTerminater(t)
	parts.UseLengthDeferrer(t)
	parts.UseConcater(t)
	var err error
	t.protocol, err = handler.NewUnroutedHandler(handler.Config{
		StoreComposer:                    parts,
		BasePath:                         tusBase,
		MaxSize:                          u.maxBytes,
		EnableExperimentalProtocol:       true,
		Cors:                             &handler.CorsConfig{Disable: true},
		Logger:                           slog.New(silent{}),
		GracefulRequestCompletionTimeout: graceFor,
		AcquireLockTimeout:               acquireFor,
	})
	if err != nil {
		panic(err) // the configuration is above
	}
	known := token.Required(v, token.Upload, http.HandlerFunc(t.serve))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions { // what there is, is no secret
			t.serve(w, r)
			return
		}
		known.ServeHTTP(w, r)
	})
}

// silent keeps tusd from logging: what is worth a line, package problem or we log.
type silent struct{ slog.Handler }

func (silent) Enabled(context.Context, slog.Level) bool { return false }
func (s silent) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (s silent) WithGroup(string) slog.Handler          { return s }

func (t *tus) serve(w http.ResponseWriter, r *http.Request) {
	sum, err := readChecksum(r.Header.Get("Upload-Checksum"))
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	x := &exchange{ResponseWriter: w, request: r, checksum: sum}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	r.Body = exchangeBody{r.Body, x}
	t.protocol.Middleware(http.HandlerFunc(t.route)).ServeHTTP(x, r)
	x.end()
}

// route is called behind tusd's middleware, which may have overridden the method.
func (t *tus) route(w http.ResponseWriter, r *http.Request) {
	x, id := exchangeOf(r.Context()), r.PathValue("id")
	r.URL = &url.URL{Path: id} // where tusd looks for it
	switch {
	case id != "" && !media.ValidID(id):
		_ = x.fail(noUpload(job.ErrNotFound))
	case id == "" && r.Method == http.MethodPost:
		t.protocol.PostFile(w, r)
	case id != "" && r.Method == http.MethodHead:
		t.protocol.HeadFile(w, r)
	case id != "" && r.Method == http.MethodPatch:
		t.protocol.PatchFile(w, r)
	case id != "" && r.Method == http.MethodDelete:
		t.protocol.DelFile(w, r)
	default: // as X-HTTP-Method-Override has it
		_ = x.fail(problem.New(problem.Method, "%s is not for %s: use HEAD, PATCH or DELETE", r.Method, x.request.URL.Path).
			With("Allow", "HEAD, PATCH, DELETE, OPTIONS"))
	}
}

// exchange is one request and its answer, as far as they are ours: tusd's handler does not pass them to its stores.
type exchange struct {
	http.ResponseWriter
	request  *http.Request
	upload   *job.Upload  // that the request creates or holds, as it is kept
	checksum *checksum    // of the body; nil when the client gave none
	stopped  atomic.Bool  // nothing more of the body is read
	status   int          // of tusd's error, which is held back
	text     bytes.Buffer // and its words
	fault    error        // ours, which stands for it
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// checksum is that of a body, and the one that it should have.
type checksum struct {
	hash.Hash
	want []byte
}

func (c *checksum) right() bool { return bytes.Equal(c.Sum(nil), c.want) }

// readChecksum reads the header Upload-Checksum.
func readChecksum(header string) (*checksum, error) {
	if header == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	algorithm, sum, _ := strings.Cut(header, " ")
	begin := checksums[algorithm]
	if begin == nil {
		return nil, problem.New(problem.Invalid,
			"Upload-Checksum has the algorithm %q: there are %s", algorithm, checksumNames)
	}
	c := &checksum{Hash: begin()}
	var err error
	if c.want, err = base64.StdEncoding.DecodeString(sum); err != nil || len(c.want) != c.Size() {
		return nil, problem.New(problem.Invalid,
			"Upload-Checksum is %q: want %s, a space and the checksum in Base64", header, algorithm)
	}
	return c, nil
}

// stop ends the reading of the body: what has arrived by now is stored, and the client told how much that is.
func (x *exchange) stop() {
	x.stopped.Store(true)
	_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(time.Now()) // or the next bytes end it
}

// fail keeps an error for the end of the exchange, and gives tusd one of its own.
func (x *exchange) fail(err error) error {
	x.fault, x.status = err, http.StatusInternalServerError
	return handler.NewError("ERR_SOUNDSTRIP", "see the answer", x.status)
}

// begins reports whether the request begins an upload, and only its answer tells the client which. In the drafts of
// IETF a 104 has told it.
func (x *exchange) begins() bool {
	return x.request.PathValue("id") == "" && x.request.Header.Get("Tus-Resumable") != ""
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader adds what tusd does not know, and holds errors back.
func (x *exchange) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		x.status = status
		return
	}
	x.describe()
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	if x.status != 0 {
		return x.text.Write(p)
	}
	return x.ResponseWriter.Write(p)
}

// describe completes the headers of an answer.
func (x *exchange) describe() {
	h := x.Header()
	if extensions := h.Get("Tus-Extension"); extensions != "" {
		h.Set("Tus-Extension", extensions+",checksum,expiration")
		h.Set("Tus-Checksum-Algorithm", checksumNames)
	}
	if u, err := url.Parse(h.Get("Location")); err == nil && u.Path != "" {
		h.Set("Location", u.Path) // who is in front of us may be called otherwise than we know
	}
	switch u := x.upload; {
	case u == nil:
	case !u.Progress.Done:
		h.Set("Upload-Expires", u.Expires.UTC().Format(http.TimeFormat))
	case h.Get("Location") == "" && !u.Partial:
		h.Set("Location", "/jobs/"+u.ID)
	}
}

// end answers with an error that was held back.
func (x *exchange) end() {
	if x.status == 0 {
		return
	}
	x.describe()
	if x.status == http.StatusPreconditionFailed {
		x.Header().Set("Tus-Version", tusVersion)
	}
	err := x.fault
	if err == nil {
		_, words, _ := strings.Cut(strings.TrimSpace(x.text.String()), ": ") // behind tusd's code
		err = problem.New(problem.ForStatus(x.status), "%s: see https://tus.io/protocols/resumable-upload", words)
	}
	problem.Write(x.ResponseWriter, x.request, err)
}

// exchangeBody is the body of a request. One that breaks off, or comes too late, ends: what has arrived is stored, and
// the client is told how much that is. Only in the drafts of IETF the end itself says that all is there.
type exchangeBody struct {
	io.ReadCloser
	x *exchange
}

func (b exchangeBody) Read(p []byte) (int, error) {
	if b.x.stopped.Load() {
		return 0, b.broken()
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns it bare
		err = b.broken()
	}
	return n, err
}

func (b exchangeBody) broken() error {
	if b.x.request.Header.Get("Tus-Resumable") != "" {
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

func noUpload(err error) error {
	if errors.Is(err, job.ErrNotFound) {
		return problem.Wrap(err, problem.NotFound, "there is no such upload, or its time is up: begin a new one")
	}
	return notStored(err)
}
