package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/tus/tusd/v2/pkg/filestore"
	"github.com/tus/tusd/v2/pkg/handler"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/exp/slog"

	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

// BenchmarkTus uploads a GiB by curl in one request, and measures the server's CPU time and the time until all is on
// the disk: ours, and beside it tusd's handler with its own store of files, and nginx's WebDAV where there is an nginx.
// Those two calculate no SHA-256. What that costs is measured alone.
func BenchmarkTus(b *testing.B) {
	const size = 1 << 30
	file := filepath.Join(b.TempDir(), "video.mp4")
	if err := writeNoise(file, size); err != nil {
		b.Fatal(err)
	}
	b.Run("sha256", func(b *testing.B) {
		measure(b, cpuTime, func() {
			f, err := os.Open(file)
			if err == nil {
				_, err = io.Copy(sha256.New(), f)
			}
			if err = errors.Join(err, f.Close()); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("tusd", func(b *testing.B) {
		dir := b.TempDir()
		parts := handler.NewStoreComposer()
		filestore.New(dir).UseIn(parts)
		h, err := handler.NewHandler(handler.Config{BasePath: tusBase, StoreComposer: parts, Logger: slog.New(silent{})})
		if err != nil {
			b.Fatal(err)
		}
		server := httptest.NewServer(http.StripPrefix(tusBase, h))
		defer server.Close()
		measure(b, cpuTime, func() {
			syncAndRemove(b, filepath.Join(dir, path.Base(curlUpload(b, server.URL+tusBase, file, size))))
		})
	})
	b.Run("nginx", func(b *testing.B) {
		dir := b.TempDir()
		url, cpu := nginx(b, dir)
		measure(b, cpu, func() {
			out, err := exec.CommandContext(b.Context(), "curl", "-sS", "-f", "-T", file, "-H", "Expect:", url+"/video.mp4").
				CombinedOutput()
			if err != nil {
				b.Fatalf("curl: %v %s", err, out)
			}
			syncAndRemove(b, filepath.Join(dir, "video.mp4"))
		})
	})
	b.Run("folder", func(b *testing.B) {
		s := newTusSetup(b, size)
		measure(b, cpuTime, func() { s.drop(b, curlUpload(b, s.url+"/files", file, size)) })
	})
	b.Run("gridfs", func(b *testing.B) {
		uri := os.Getenv("TEST_MONGODB_URI")
		if uri == "" {
			b.Skip("TEST_MONGODB_URI is not set")
		}
		name := "bench_" + bson.NewObjectID().Hex()
		stores, err := mongodb.Open(mongodb.Config{URI: uri, Videos: name, MP3s: name, Database: name})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = stores.Close(context.Background()) }()
		sent := senderFunc(func(context.Context, event.Event) error { return nil })
		h := New(stores.Videos, stores.Jobs, stores.Uploads, sent, people{}, Config{MaxBytes: size, Expires: time.Hour})
		server := httptest.NewServer(h)
		defer server.Close()
		s := &tusSetup{videos: stores.Videos}
		measure(b, cpuTime, func() { s.drop(b, curlUpload(b, server.URL+"/files", file, size)) })
	})
}

// drop deletes the video of an upload.
func (s *tusSetup) drop(b *testing.B, upload string) {
	b.Helper()
	if err := s.videos.Delete(b.Context(), path.Base(upload)); err != nil {
		b.Fatal(err)
	}
}

// writeNoise writes a file that begins as a video.
func writeNoise(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\x00\x00\x00\x18ftypmp42")
	if err == nil {
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size-12)
	}
	return errors.Join(err, f.Close())
}

func syncAndRemove(b *testing.B, name string) {
	b.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), os.Remove(name))
	}
	if err != nil {
		b.Fatal(err)
	}
}

// nginx serves WebDAV in a folder, and tells the CPU time that it has used.
func nginx(b *testing.B, dir string) (url string, cpu func(*testing.B) time.Duration) {
	b.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		b.Skip("there is no nginx")
	}
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // nginx takes it
	own := b.TempDir()
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off; client_max_body_size 0; client_body_temp_path %[2]s/part;
  proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[3]s; root %[2]s; dav_methods PUT; }
}`, own, dir, address)
	file := filepath.Join(own, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file, "-p", own)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("nginx: %v %s", err, &said)
		}
		<-time.After(10 * time.Millisecond)
	}
	return "http://" + address, func(b *testing.B) time.Duration {
		b.Helper()
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		var ticks [2]int64 // utime and stime of proc_pid_stat(5), of 10 ms each
		for i, field := range strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[11:13] {
			if ticks[i], err = strconv.ParseInt(field, 10, 64); err != nil {
				b.Fatal(err)
			}
		}
		return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond
	}
}

// measure reports CPU time, which cpu reads, and time of a GiB.
func measure(b *testing.B, cpu func(*testing.B) time.Duration, once func()) {
	b.Helper()
	before := cpu(b)
	for b.Loop() {
		once()
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/GiB")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/GiB")
	b.ReportMetric(0, "ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// curlUpload uploads a file in one request, and gives the upload's address.
func curlUpload(b *testing.B, url, file string, size int64) string {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+owner)
	r.Header.Set("Tus-Resumable", tusVersion)
	r.Header.Set("Upload-Length", strconv.FormatInt(size, 10))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	_ = res.Body.Close()
	at, err := res.Location()
	if err != nil {
		b.Fatalf("POST = %s, %v", res.Status, err)
	}
	out, err := exec.CommandContext(b.Context(), "curl", "-sS", "-f", "-X", "PATCH", "-T", file, "-H", "Expect:",
		"-H", "Authorization: Bearer "+owner, "-H", "Tus-Resumable: "+tusVersion, "-H", "Content-Type: "+pieceType,
		"-H", "Upload-Offset: 0", at.String()).CombinedOutput()
	if err != nil {
		b.Fatalf("curl: %v %s", err, out)
	}
	return at.String()
}
