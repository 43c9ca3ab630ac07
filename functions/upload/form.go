package upload

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

const (
	maxParts     = 100      // of a form
	maxHead      = 16 << 10 // bytes of a part's headers
	maxFields    = 64 << 10 // bytes of all fields of a form
	formOverhead = 1 << 20  // bytes that a form may have besides the video: fields, boundaries, headers
)

// form takes a multipart form with one file in it (RFC 7578). It reads part by part, and keeps the file neither in
// memory nor on a disk.
func (u *uploader) form(w http.ResponseWriter, r *http.Request, k *keyed) error {
	fields, _, err := u.query(r)
	if err != nil {
		return err
	}
	if r.ContentLength > u.maxBytes+formOverhead {
		return u.tooLarge()
	}
	if err := u.room(r.Context(), r.ContentLength); err != nil {
		return err
	}
	body := http.MaxBytesReader(w, r.Body, u.maxBytes+formOverhead)
	// Package multipart asks for 4 KiB at once, each of which would be read off the connection.
	metered := &meter{Reader: bufio.NewReaderSize(body, 64<<10)}
	r.Body = struct {
		io.Reader
		io.Closer
	}{metered, body}
	parts, err := r.MultipartReader()
	if err != nil {
		return problem.Wrap(err, problem.Invalid,
			"no file: send a multipart form with one file (curl -F file=@video.mp4), "+
				"or PUT the video to /upload/NAME (curl -T video.mp4)")
	}
	var video media.Writer
	left := maxFields
	for n := 0; ; n++ {
		metered.bound(maxHead)
		part, err := parts.NextPart()
		metered.unbound()
		if err == io.EOF { //nolint:errorlint // after the last boundary; a form that broke off wraps it
			break
		}
		if err != nil {
			return u.broken(err)
		}
		if n == maxParts {
			return problem.New(problem.Invalid, "the form has more than %d parts: send one file, and its options", maxParts)
		}
		name, isFile, err := fileName(part)
		switch {
		case err != nil:
			return err
		case !isFile:
			if left, err = u.field(part, fields, left); err != nil {
				return err
			}
			continue
		case video != nil:
			return problem.New(problem.Invalid, "the form has more than one file: send each video in a request of its own")
		}
		if _, err := u.parseOptions(fields); err != nil {
			return err
		}
		video, err = u.receive(r.Context(), k, cleanName(name), http.MaxBytesReader(w, part, u.maxBytes))
		if err != nil {
			return err
		}
		defer u.abort(r.Context(), video) // runs once: a second file is refused
	}
	// What follows the last boundary says nothing, but belongs to the request.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return u.broken(err)
	}
	if video == nil {
		return problem.New(problem.Invalid, "no file in the form: send one with its name (curl -F file=@video.mp4)")
	}
	o, err := u.parseOptions(fields)
	if err != nil {
		return err
	}
	return u.accept(w, r, k, video, o)
}

// meter bounds what is read of the body where a form has no content, but headers of its parts: package multipart takes
// up to 10 MB of these.
type meter struct {
	io.Reader
	bounded bool
	left    int
}

// bound lets so many bytes be read, and what package multipart reads ahead.
func (m *meter) bound(n int) { m.bounded, m.left = true, n+8<<10 }

func (m *meter) unbound() { m.bounded = false }

func (m *meter) Read(p []byte) (int, error) {
	if m.bounded && m.left == 0 {
		return 0, problem.New(problem.Invalid, "the headers of a part of the form are longer than %d bytes", maxHead)
	}
	if m.bounded {
		p = p[:min(len(p), m.left)]
	}
	n, err := m.Reader.Read(p)
	if m.bounded {
		m.left -= n
	}
	return n, err
}

// field adds an option to the fields, and tells how many bytes are left for others.
func (u *uploader) field(part *multipart.Part, fields url.Values, left int) (int, error) {
	left -= len(part.FormName())
	value, err := io.ReadAll(io.LimitReader(part, int64(max(0, left))+1))
	if err != nil {
		return 0, u.broken(err)
	}
	if left -= len(value); left < 0 {
		return 0, problem.New(problem.Invalid,
			"the form's fields are longer than %d bytes: a file is sent with its name (curl -F file=@video.mp4)", maxFields)
	}
	fields.Add(part.FormName(), strings.ToValidUTF8(string(value), "\uFFFD"))
	return left, nil
}

// unescape undoes what browsers write for characters that a quoted name cannot have, and for no others:
// https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data.
var unescape = strings.NewReplacer("%22", `"`, "%0D", "\r", "%0A", "\n")

// fileName gives the name of a part's file. A part without a file name is a field; a file name may be empty (RFC 7578,
// section 4.2).
func fileName(part *multipart.Part) (name string, isFile bool, err error) {
	header := part.Header.Get("Content-Disposition")
	disposition, params, err := mime.ParseMediaType(header)
	if err == nil && disposition != "form-data" {
		err = errors.New(disposition)
	}
	if err != nil {
		return "", false, problem.Wrap(err, problem.Invalid,
			"a part of the form is malformed: want Content-Disposition: form-data; name=\"file\"; filename=\"video.mp4\"")
	}
	name, isFile = params["filename"]
	if !strings.Contains(header, "filename*") { // which has its own way
		name = unescape.Replace(name)
	}
	return name, isFile, nil
}

// query reads options from the query; unlike [url.URL.Query] it drops nothing that is malformed.
func (u *uploader) query(r *http.Request) (url.Values, options, error) {
	fields, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, options{}, problem.New(problem.Invalid, "the query is malformed: %v", err)
	}
	for _, values := range fields {
		for i, v := range values {
			values[i] = strings.ToValidUTF8(v, "\uFFFD")
		}
	}
	o, err := u.parseOptions(fields)
	return fields, o, err
}

// options are what a client wants of an upload's job.
type options struct {
	conversion eventing.Options
	webhook    *job.Webhook // also told how the job ends; may be nil
	keep       job.Retention
}

func (u *uploader) parseOptions(fields url.Values) (o options, err error) {
	o.conversion, err = eventing.ParseOptions(fields, slices.Concat(job.WebhookFields, []string{job.RetentionField})...)
	var webhookErr, keepErr error
	o.webhook, webhookErr = job.ParseWebhook(fields)
	o.keep, keepErr = u.retention.Parse(fields)
	if err = errors.Join(err, webhookErr, keepErr); err != nil {
		return o, problem.New(problem.Unprocessable, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return o, nil
}
