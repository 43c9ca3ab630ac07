package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pacedBody lets so many bytes a second through.
type pacedBody struct {
	io.ReadCloser
	rate int64
	due  time.Time // when the next byte may come
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 64<<10)])
	if now := time.Now(); b.due.Before(now.Add(-time.Second)) {
		b.due = now
	}
	b.due = b.due.Add(time.Duration(n) * time.Second / time.Duration(b.rate))
	<-time.After(time.Until(b.due))
	return n, err
}

// BenchmarkSend sends a lecture of 2 GB at 4 Mbit/s over a line of 20 Mbit/s, whole and its sound only, until the MP3
// is there. It takes a quarter of an hour.
func BenchmarkSend(b *testing.B) {
	const rate = 20_000_000 / 8
	film := filepath.Join(b.TempDir(), "minute.mp4")
	run(b, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=60", "-f", "lavfi",
		"-i", "anoisesrc=c=pink:d=60:a=0.2", "-c:v", "mpeg4", "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M",
		"-bufsize", "4M", "-c:a", "aac", "-b:a", "128k", film)
	lecture := filepath.Join(b.TempDir(), "lecture.mp4")
	run(b, "ffmpeg", "-v", "error", "-stream_loop", "64", "-i", film, "-c", "copy", lecture)
	stat, err := os.Stat(lecture)
	if err != nil {
		b.Fatal(err)
	}

	p := start(b, "soundstrip", map[string]string{"SOUNDSTRIP_DATA": b.TempDir(), "SOUNDSTRIP_USER": "georgio@email.com",
		"SOUNDSTRIP_PASSWORD": "Admin123"})
	target, err := url.Parse(p.url)
	if err != nil {
		b.Fatal(err)
	}
	line := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.In.Method == http.MethodPatch {
			r.Out.Body = &pacedBody{ReadCloser: r.Out.Body, rate: rate}
		}
	}, FlushInterval: -1})
	defer line.Close()
	someone := newSender(b, line.URL)
	for name, args := range map[string][]string{"sound": nil, "whole": {"--whole"}} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				out := filepath.Join(b.TempDir(), fmt.Sprint(i, ".mp3"))
				code, stdout, stderr := someone.send(append(args, "--out", out, lecture)...)
				if code != 0 {
					b.Fatalf("soundstrip send = %d %s", code, stderr)
				}
				b.Log(strings.TrimPrefix(stdout, filepath.Dir(out)))
			}
			b.ReportMetric(float64(stat.Size())/1e6, "MB")
		})
	}
}
