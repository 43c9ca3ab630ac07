// Package mail writes mails about jobs that have ended, and brings them to a mail server or into a folder.
package mail

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	html "html/template"
	"math"
	"net/mail"
	"strings"
	text "text/template"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// Letter is what the owner of a job is told. The job is Converted, Notified or Failed. Or it is about an account.
type Letter struct {
	ID    string // the same for a repeat: the Message-ID is made of it
	To    *mail.Address
	Date  time.Time
	Job   job.Job
	Links Links
	// Choose is the address at which the password of an account is chosen until it ends, in a letter about an account.
	Choose string
}

// Links are absolute addresses.
type Links struct {
	Home     string // of the gateway
	Job      string
	MP3      string
	Download string // the MP3, by its file id

	Open string // the MP3, for whoever has the address, until it ends
	Ends time.Time
}

//go:embed template
var files embed.FS

var (
	words = map[string]any{"name": name, "duration": duration, "size": size, "moment": moment}
	texts = text.Must(text.New("").Funcs(words).ParseFS(files, "template/*.txt"))
	htmls = html.Must(html.New("").Funcs(words).ParseFS(files, "template/*.html"))
)

// message writes the letter out, as text and as HTML.
func (l Letter) message(ctx context.Context, from *mail.Address) (*gomail.Msg, error) {
	// A subject is shown where others see it: on locked screens, in logs. The file's name is not in it.
	kind, subject := "converted", "Your MP3 is ready"
	switch {
	case l.Choose != "":
		kind, subject = "account", "Choose your password"
	case l.Job.State == job.Failed:
		kind, subject = "failed", "No MP3 could be made of your video"
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(from)
	m.ToMailAddress(l.To)
	m.Subject(subject)
	m.SetDateWithValue(l.Date)
	sum := sha256.Sum256([]byte(l.ID))
	id := hex.EncodeToString(sum[:16])
	m.SetMessageIDWithValue(id + "@" + domain(from))
	m.SetBoundary(id)                                  // so that the same letter is the same bytes
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notices in answer
	if trace := eventing.TraceID(ctx); trace != "" {
		m.SetGenHeader(problem.TraceHeader, trace)
	}
	if err := m.SetBodyTextTemplate(texts.Lookup(kind+".txt"), l); err != nil {
		return nil, fmt.Errorf("write mail about job %s: %w", l.Job.ID, err)
	}
	if err := m.AddAlternativeHTMLTemplate(htmls.Lookup(kind+".html"), l); err != nil {
		return nil, fmt.Errorf("write mail about job %s: %w", l.Job.ID, err)
	}
	return m, nil
}

func domain(a *mail.Address) string { return a.Address[strings.LastIndexByte(a.Address, '@')+1:] }

// maxName is how much of a file's name is told, in characters.
const maxName = 80

// name is what the job calls its video, on one line: it becomes part of a header.
func name(j job.Job) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(j.Filename, "\uFFFD"),
		func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	s := strings.Join(words, " ")
	if r := []rune(s); len(r) > maxName {
		s = string(r[:maxName-1]) + "…"
	}
	if s == "" {
		return "your video"
	}
	return s
}

// duration says seconds in words: "1 hour 2 minutes 3 seconds".
func duration(seconds float64) string {
	left := max(1, int(math.Round(seconds)))
	var parts []string
	for _, unit := range []struct {
		name string
		long int
	}{{"hour", 3600}, {"minute", 60}, {"second", 1}} {
		n := left / unit.long
		left %= unit.long
		switch n {
		case 0:
		case 1:
			parts = append(parts, "1 "+unit.name)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	return strings.Join(parts, " ")
}

// moment says when something is, to the minute.
func moment(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// size says bytes in the units of file managers (powers of 1000).
func size(bytes int64) string {
	n, unit := float64(bytes), 0
	for n >= 999.95 && unit < 3 {
		n /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f %s", n, []string{"", "kB", "MB", "GB"}[unit])
}
