package jobs

import (
	"bytes"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

func TestDownload(t *testing.T) {
	t.Parallel()
	const etag = `"c0ffee"`
	date := uploaded.Format(http.TimeFormat)
	for _, tt := range []struct {
		name    string
		method  string
		header  []string
		status  int
		content string
		length  string
		ranged  string
	}{
		{"whole", "GET", nil, 200, string(sound), "10000", ""},
		{"head", "HEAD", nil, 200, "", "10000", ""},
		{"range", "GET", []string{"Range", "bytes=5-9"}, 206, "56789", "5", "bytes 5-9/10000"},
		{"rest", "GET", []string{"Range", "bytes=9995-"}, 206, "56789", "5", "bytes 9995-9999/10000"},
		{"end", "GET", []string{"Range", "bytes=-3"}, 206, "789", "3", "bytes 9997-9999/10000"},
		{"past the end", "GET", []string{"Range", "bytes=10000-"}, 416, "", "", "bytes */10000"},
		{"head of a range", "HEAD", []string{"Range", "bytes=5-9"}, 206, "", "5", "bytes 5-9/10000"},
		{"range if the same", "GET", []string{"Range", "bytes=5-9", "If-Range", etag}, 206, "56789", "5", "bytes 5-9/10000"},
		{"range if another", "GET", []string{"Range", "bytes=5-9", "If-Range", `"other"`}, 200, string(sound), "10000", ""},
		{"range if weak", "GET", []string{"Range", "bytes=5-9", "If-Range", "W/" + etag}, 200, string(sound), "10000", ""},
		{"range if as old", "GET", []string{"Range", "bytes=5-9", "If-Range", date}, 206, "56789", "5", "bytes 5-9/10000"},
		{"had", "GET", []string{"If-None-Match", etag}, 304, "", "", ""},
		{"had another", "GET", []string{"If-None-Match", `"other"`}, 200, string(sound), "10000", ""},
		{"not modified", "GET", []string{"If-Modified-Since", date}, 304, "", "", ""},
		{"another expected", "GET", []string{"If-Match", `"other"`}, 412, "", "", ""},
	} {
		for _, target := range []string{"/jobs/" + converted + "/mp3", "/download?fid=" + theMP3} {
			t.Run(tt.name+" "+target, func(t *testing.T) {
				t.Parallel()
				w := newSetup().do("georgio", tt.method, target, tt.header...)
				h := w.Header()
				if w.Code != tt.status || h.Get("Content-Range") != tt.ranged {
					t.Fatalf("%s %s %q = %d %v, want %d and range %q", tt.method, target, tt.header, w.Code, h, tt.status, tt.ranged)
				}
				if w.Code >= 300 {
					return
				}
				if w.Body.String() != tt.content || h.Get("Content-Length") != tt.length {
					t.Errorf("%s %s %q gives %d bytes and length %s, want %d and %s", tt.method, target, tt.header, w.Body.Len(),
						h.Get("Content-Length"), len(tt.content), tt.length)
				}
				for key, want := range map[string]string{
					"Content-Type": "audio/mpeg", "Etag": etag, "Last-Modified": date, "Accept-Ranges": "bytes",
					"Content-Disposition": `attachment; filename="my video.mp3"`, "X-Content-Type-Options": "nosniff",
					"Cache-Control": "private, no-cache",
				} {
					if h.Get(key) != want {
						t.Errorf("%s = %q, want %q", key, h.Get(key), want)
					}
				}
			})
		}
	}
}

// TestOldMP3 downloads what has neither a name nor a hash.
func TestOldMP3(t *testing.T) {
	t.Parallel()
	h := newSetup().do("admin", "GET", "/download?fid="+strayMP3).Header()
	if h.Get("Etag") != `"`+strayMP3+`"` || h.Get("Content-Disposition") != `attachment; filename="`+strayMP3+`.mp3"` {
		t.Errorf("GET /download of an old MP3 has %v, want the id as ETag and name", h)
	}
}

func TestAttachment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "my video.mp3", `attachment; filename="my video.mp3"`},
		{"UTF-8", "Übung ü.mp3", `attachment; filename="_bung _.mp3"; filename*=UTF-8''%C3%9Cbung%20%C3%BC.mp3`},
		{"quotes", `a"b\c.mp3`, `attachment; filename="a_b_c.mp3"; filename*=UTF-8''a%22b%5Cc.mp3`},
		{"percent", "100%.mp3", `attachment; filename="100_.mp3"; filename*=UTF-8''100%25.mp3`},
		{"line break", "a\r\nX: y.mp3", `attachment; filename="a__X: y.mp3"; filename*=UTF-8''a%0D%0AX%3A%20y.mp3`},
		{"no UTF-8", "\xdc.mp3", `attachment; filename="_.mp3"; filename*=UTF-8''%EF%BF%BD.mp3`},
		{"every delimiter", "ü:=@&$+,;?'()*!.mp3",
			`attachment; filename="_:=@&$+,;?'()*!.mp3"; filename*=UTF-8''%C3%BC%3A%3D%40&$+%2C%3B%3F%27%28%29%2A%21.mp3`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := attachment(tt.in)
			if got != tt.want {
				t.Errorf("attachment(%q) = %s, want %s", tt.in, got, tt.want)
			}
			_, params, err := mime.ParseMediaType(got)
			if want := strings.ToValidUTF8(tt.in, "\uFFFD"); err != nil || params["filename"] != want {
				t.Errorf("attachment(%q) is read as %q, %v", tt.in, params["filename"], err)
			}
		})
	}
}

// TestCurl downloads as the pages say, under the name that the server gives, and resumes.
func TestCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("curl is not installed: apt-get install curl")
	}
	server := httptest.NewServer(newSetup())
	defer server.Close()
	dir := t.TempDir()
	curl := func(args ...string) {
		t.Helper()
		args = append([]string{"-sS", "--fail-with-body", "-H", "Authorization: Bearer georgio"}, args...)
		c := exec.CommandContext(t.Context(), "curl", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	check := func(name string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, sound) {
			t.Errorf("%s has %d bytes (%v), want the %d of the MP3", name, len(got), err, len(sound))
		}
	}
	curl("-OJ", server.URL+"/jobs/"+converted+"/mp3")
	check("my video.mp3")
	curl("-o", "part.mp3", "-r", "0-4999", server.URL+"/download?fid="+theMP3)
	curl("-o", "part.mp3", "-C", "-", server.URL+"/download?fid="+theMP3)
	check("part.mp3")
}

// TestMP3OfUnnamedJob has a job that began in the old system, which kept no names.
func TestMP3OfUnnamedJob(t *testing.T) {
	t.Parallel()
	s := newSetup()
	s.mp3s.infos[strayMP3] = media.Info{ID: strayMP3, Uploaded: time.Unix(1, 0), SHA256: "beef"}
	s.jobs.jobs[unknown] = job.Job{ID: unknown, Owner: "georgio", State: job.Notified, MP3: &job.MP3{FID: strayMP3}}
	h := s.do("georgio", "HEAD", "/jobs/"+unknown+"/mp3").Header()
	if h.Get("Etag") != `"beef"` || h.Get("Content-Disposition") != `attachment; filename="`+strayMP3+`.mp3"` {
		t.Errorf("HEAD has %v, want the store's hash as ETag and the MP3's id as name", h)
	}
}
