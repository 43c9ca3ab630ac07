package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

// Mailbox keeps mails in a folder instead of sending them, a file each, and shows them to a browser:
//
//	GET /mailbox          lists them, newest first
//	GET /mailbox/{name}   shows one
type Mailbox struct {
	dir  string
	from *mail.Address
	mux  *http.ServeMux
}

// NewMailbox makes the folder when it is not there.
func NewMailbox(dir string) (*Mailbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make mailbox: %w", err)
	}
	from := &mail.Address{Name: "Soundstrip", Address: "soundstrip@localhost"}
	m := &Mailbox{dir: dir, from: from, mux: http.NewServeMux()}
	m.mux.Handle("GET /mailbox", problem.Handler(m.list))
	m.mux.Handle("GET /mailbox/{name}", problem.Handler(m.show))
	m.mux.HandleFunc("/", problem.NoSuchRoute)
	return m, nil
}

// Send returns when the mail is on disk.
func (m *Mailbox) Send(ctx context.Context, l Letter) error {
	msg, err := l.message(ctx, m.from)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return fmt.Errorf("write mail about job %s: %w", l.Job.ID, err)
	}
	name := l.Date.UTC().Format("20060102T150405.000Z-") + msg.GetMessageID()[1:9] + ".eml"
	if err := m.keep(name, b.Bytes()); err != nil {
		return fmt.Errorf("keep mail about job %s: %w", l.Job.ID, err)
	}
	slog.InfoContext(ctx, "mail kept", "file", filepath.Join(m.dir, name))
	return nil
}

// keep makes the file appear whole or not at all, whatever dies meanwhile.
func (m *Mailbox) keep(name string, content []byte) (err error) {
	f, err := os.CreateTemp(m.dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(m.dir, name)); err != nil {
		return err
	}
	d, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fileName matches the names of keep's files. Nothing else is shown.
var fileName = regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}\.eml$`)

// ServeHTTP shows the mails.
func (m *Mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// page is one mail as a browser shows it.
type page struct {
	Name, Date, From, To, Subject string
	Body                          []piece
}

// piece is some of a text: an address to click on, or what stands between two.
type piece struct{ Text, URL string }

func (m *Mailbox) list(w http.ResponseWriter, r *http.Request) error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return fmt.Errorf("list mailbox: %w", err)
	}
	pages := []page{}
	for _, e := range slices.Backward(entries) { // their names begin with the time
		if !fileName.MatchString(e.Name()) {
			continue
		}
		p, err := m.read(e.Name())
		if err != nil {
			slog.WarnContext(r.Context(), "mail not listed", "file", e.Name(), "error", err)
			continue
		}
		pages = append(pages, p)
	}
	return show(w, "mailbox.html", pages)
}

func (m *Mailbox) show(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if !fileName.MatchString(name) {
		return problem.New(problem.NotFound, "there is no mail %q: GET /mailbox lists them", name)
	}
	p, err := m.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.NotFound, "there is no mail %q: GET /mailbox lists them", name)
	}
	if err != nil {
		return err
	}
	return show(w, "mail.html", p)
}

func show(w http.ResponseWriter, template string, data any) error {
	var b bytes.Buffer
	if err := htmls.ExecuteTemplate(&b, template, data); err != nil {
		return fmt.Errorf("show %s: %w", template, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = b.WriteTo(w)
	return nil
}

// read reads a mail that Send kept.
func (m *Mailbox) read(name string) (page, error) {
	raw, err := os.ReadFile(filepath.Join(m.dir, name)) //nolint:gosec // show and list check that Send made the name
	if err != nil {
		return page{}, fmt.Errorf("read mail: %w", err)
	}
	p, err := parse(raw)
	if err != nil {
		return page{}, fmt.Errorf("read mail %s: %w", name, err)
	}
	p.Name = name
	return p, nil
}

// parse reads a mail's header and its text, which is the first part.
func parse(raw []byte) (page, error) {
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return page{}, err
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return page{}, err
	}
	part, err := multipart.NewReader(msg.Body, params["boundary"]).NextRawPart()
	if err != nil {
		return page{}, err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(part))
	if err != nil {
		return page{}, err
	}
	header := func(key string) string {
		v, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get(key))
		if err != nil {
			return msg.Header.Get(key)
		}
		return v
	}
	return page{
		Date: header("Date"), From: header("From"), To: header("To"), Subject: header("Subject"),
		Body: pieces(strings.ReplaceAll(string(text), "\r\n", "\n")),
	}, nil
}

var address = regexp.MustCompile(`https?://[^\s"<>]+`)

func pieces(s string) []piece {
	var all []piece
	done := 0
	for _, at := range address.FindAllStringIndex(s, -1) {
		all = append(all, piece{Text: s[done:at[0]]}, piece{URL: strings.TrimRight(s[at[0]:at[1]], ".,:;")})
		done = at[0] + len(all[len(all)-1].URL)
	}
	return append(all, piece{Text: s[done:]})
}
