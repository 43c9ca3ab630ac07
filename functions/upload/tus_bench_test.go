package upload

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
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
// the disk: ours, and tusd's handler with its own store of files, which calculates no SHA-256. What that costs is
// measured alone.
func BenchmarkTus(b *testing.B) {
	const size = 1 << 30
	file := filepath.Join(b.TempDir(), "video.mp4")
	if err := writeNoise(file, size); err != nil {
		b.Fatal(err)
	}
	b.Run("sha256", func(b *testing.B) {
		measure(b, func() {
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
		measure(b, func() {
			id := path.Base(curlUpload(b, server.URL+tusBase, file, size))
			f, err := os.OpenFile(filepath.Join(dir, id), os.O_RDWR, 0)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close(), os.Remove(f.Name()))
			}
			if err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("folder", func(b *testing.B) {
		s := newTusSetup(b, size)
		measure(b, func() { s.drop(b, curlUpload(b, s.url+"/files", file, size)) })
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
		measure(b, func() { s.drop(b, curlUpload(b, server.URL+"/files", file, size)) })
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

// measure reports CPU time and time of a GiB.
func measure(b *testing.B, once func()) {
	b.Helper()
	before := cpuTime(b)
	for b.Loop() {
		once()
	}
	b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N), "cpu-s/GiB")
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
