package mail

import (
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func raw(t *testing.T, l Letter) string {
	t.Helper()
	m, err := l.message(t.Context(), &mail.Address{Name: "Soundstrip", Address: "soundstrip@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// opened is a mail as a mail program reads it.
type opened struct {
	header     mail.Header
	subject    string
	text, html string
}

func open(t *testing.T, raw string) opened {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	o := opened{header: m.Header}
	if o.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("Content-Type = %q, %v, want multipart/alternative", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct {
		kind string
		to   *string
		// the last is what is preferred (RFC 2046, 5.1.4)
	}{{"text/plain; charset=UTF-8", &o.text}, {"text/html; charset=UTF-8", &o.html}} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		if kind := p.Header.Get("Content-Type"); kind != want.kind ||
			p.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Errorf("part has header %v, want %s, quoted-printable", p.Header, want.kind)
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		*want.to = string(b)
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after two parts: %v, want the end", err)
	}
	return o
}

func TestGolden(t *testing.T) {
	t.Parallel()
	legacy := converted()
	legacy.Job.Filename, legacy.Job.MP3.Length, legacy.Job.MP3.Duration = "", 0, 0
	foreign := converted()
	foreign.Job.Filename = "Übung № 1 – «Ёлка».mp4"
	account := Letter{ID: "1", To: converted().To, Date: converted().Date,
		Links:  Links{Home: "https://soundstrip.example.com/", Ends: converted().Date.Add(time.Hour)},
		Choose: "https://soundstrip.example.com/#password=GEZDGNBVGY3TQOJQGEZDGNBVGY"}
	for name, l := range map[string]Letter{"account": account, "converted": converted(), "failed": failed(),
		"legacy": legacy, "foreign": foreign} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := raw(t, l)
			golden := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("mail (-want +got), to be taken over with -update:\n%s", diff)
			}
			for _, line := range strings.Split(got, "\r\n") {
				if len(line) > 998 || strings.ContainsAny(line, "\r\n") ||
					strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
					t.Errorf("line %q is none of a mail (RFC 5322, 2.1.1; no 8BITMIME)", line)
				}
			}
		})
	}
}

func TestLetter(t *testing.T) {
	t.Parallel()
	o := open(t, raw(t, converted()))
	for k, want := range map[string]string{
		"From": `"Soundstrip" <soundstrip@example.com>`, "To": "<anna@example.com>",
		"Date": "Wed, 04 Mar 2026 05:06:07 +0000", "Auto-Submitted": "auto-generated",
	} {
		if got := o.header.Get(k); got != want {
			t.Errorf("%s = %q, want %q", k, got, want)
		}
	}
	if o.subject != "Your MP3 is ready" {
		t.Errorf("subject = %q", o.subject)
	}
	for _, want := range []string{"30 minutes 35 seconds", "44.0 MB", "65f0a1b2c3d4e5f60123beef",
		"3 April 2026, 05:06 UTC",
		"https://soundstrip.example.com/jobs/65f0a1b2c3d4e5f601234567/mp3",
		"https://soundstrip.example.com/download?fid=65f0a1b2c3d4e5f60123beef", "anna@example.com"} {
		if !strings.Contains(o.text, want) || !strings.Contains(o.html, want) {
			t.Errorf("%q is not in both the text and the HTML:\n%s\n%s", want, o.text, o.html)
		}
	}
	o = open(t, raw(t, failed()))
	for _, want := range []string{"the video has no sound", "no_audio",
		"https://soundstrip.example.com/"} {
		if !strings.Contains(o.text, want) || !strings.Contains(o.html, want) {
			t.Errorf("%q is not in both the text and the HTML:\n%s\n%s", want, o.text, o.html)
		}
	}
}

// TestLetterExpires: who gets a mail about an MP3 learns when it ends.
func TestLetterExpires(t *testing.T) {
	t.Parallel()
	l := converted()
	at := time.Date(2026, 5, 6, 7, 8, 0, 0, time.UTC)
	l.Job.Expires = &at
	const want = "It is deleted on 6 May 2026, 07:08 UTC."
	if o := open(t, raw(t, l)); !strings.Contains(o.text, want) || !strings.Contains(o.html, want) {
		t.Errorf("%q is not in both the text and the HTML:\n%s\n%s", want, o.text, o.html)
	}
}

func TestLetterNotice(t *testing.T) {
	t.Parallel()
	l := converted()
	l.Job.Notice = "the recording ends abruptly at 5.4 s"
	const want = "Please note: the recording ends abruptly at 5.4 s."
	if o := open(t, raw(t, l)); !strings.Contains(o.text, want) || !strings.Contains(o.html, want) {
		t.Errorf("%q is not in both the text and the HTML:\n%s\n%s", want, o.text, o.html)
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	later := converted()
	later.Date = later.Date.AddDate(0, 0, 1)
	a, b, c := open(t, raw(t, converted())), open(t, raw(t, later)), open(t, raw(t, failed()))
	id := a.header.Get("Message-Id")
	if b.header.Get("Message-Id") != id || c.header.Get("Message-Id") == id {
		t.Errorf("Message-IDs %q, of the repeat %q, of another %q", id, b.header.Get("Message-Id"),
			c.header.Get("Message-Id"))
	}
	if !strings.HasSuffix(id, "@example.com>") {
		t.Errorf("Message-ID = %q, want the domain of the sender", id)
	}
}

// TestHostileNames: what a user typed is neither a header nor markup.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ filename, inText, inHTML string }{
		{"a\r\nBcc: eve@example.com\r\n\r\nbody.mp4", "a Bcc: eve@example.com body.mp4", ""},
		{"<script>alert(1)</script>.mp4", "<script>alert(1)</script>.mp4", "&lt;script&gt;alert(1)&lt;/script&gt;.mp4"},
		{`"><img src=x>.mp4`, `"><img src=x>.mp4`, "&#34;&gt;&lt;img src=x&gt;.mp4"},
		{"=?utf-8?q?evil?=.mp4", "=?utf-8?q?evil?=.mp4", ""},
		{"{{.Job.Owner}}.mp4", "{{.Job.Owner}}", "{{.Job.Owner}}"},
		{"tab\there \x00\x7f nul.mp4", "tab here nul.mp4", ""},
		{"bad\xffbytes.mp4", "bad\uFFFDbytes.mp4", ""},
		{"line\u2028separator.mp4", "line separator.mp4", ""},
		{strings.Repeat("ü", 500) + ".mp4", "of " + strings.Repeat("ü", 79) + "… is", ""},
		{"   ", "the sound of your video is", ""},
	} {
		l := converted()
		l.Job.Filename = tt.filename
		o := open(t, raw(t, l))
		if o.header.Get("Bcc") != "" || len(o.header) != 8 {
			t.Errorf("%q: header %v, want no more than ours", tt.filename, o.header)
		}
		if o.subject != "Your MP3 is ready" { // which others may see
			t.Errorf("%q: subject %q", tt.filename, o.subject)
		}
		if !strings.Contains(o.text, tt.inText) || !strings.Contains(o.html, tt.inHTML) {
			t.Errorf("%q: want %q in the text and %q in the HTML:\n%s\n%s", tt.filename, tt.inText, tt.inHTML, o.text, o.html)
		}
		if strings.Contains(o.html, "<script") || strings.Contains(o.html, "<img") {
			t.Errorf("%q: the HTML has foreign markup:\n%s", tt.filename, o.html)
		}
	}
	l := failed()
	l.Job.Error.Message = "<b>bold</b>"
	if o := open(t, raw(t, l)); strings.Contains(o.html, "<b>") {
		t.Errorf("the reason is markup:\n%s", o.html)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		seconds float64
		want    string
	}{
		{0.2, "1 second"}, {1, "1 second"}, {59.4, "59 seconds"}, {59.6, "1 minute"}, {61, "1 minute 1 second"},
		{3600, "1 hour"}, {7384, "2 hours 3 minutes 4 seconds"},
	} {
		if got := duration(tt.seconds); got != tt.want {
			t.Errorf("duration(%v) = %q, want %q", tt.seconds, got, tt.want)
		}
	}
	for _, tt := range []struct {
		bytes int64
		want  string
	}{
		{0, "0 bytes"}, {999, "999 bytes"}, {1000, "1.0 kB"}, {999_949, "999.9 kB"}, {999_960, "1.0 MB"},
		{44_028_000, "44.0 MB"}, {2_500_000_000, "2.5 GB"}, {5_000_000_000_000, "5000.0 GB"},
	} {
		if got := size(tt.bytes); got != tt.want {
			t.Errorf("size(%d) = %q, want %q", tt.bytes, got, tt.want)
		}
	}
}
