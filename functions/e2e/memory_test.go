package e2e

import (
	"encoding/binary"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// maxHeap is what each function may keep on its Go heap, in MiB, whatever the size of the file.
const maxHeap = 64

// bigSize is the size of a large video, in bytes: SOUNDSTRIP_BIG, or what a test takes otherwise.
func bigSize(t *testing.T, otherwise int64) int64 {
	t.Helper()
	v := os.Getenv("SOUNDSTRIP_BIG")
	if v == "" {
		return otherwise
	}
	size, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestMemory takes a large video up and a large MP3 down through every function that they pass, and reads the largest
// heaps off the garbage collectors' own trace. SOUNDSTRIP_BIG sets the size in bytes (make memory takes 4 GB).
func TestMemory(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	size := bigSize(t, 128<<20)
	s := deploy(t)
	token := login(t, s.url, georgio)

	big := video(t, "big.mp4", 3, "-movflags", "+faststart")
	pad(t, big, size)
	status, body := curl(t, "-T", big, "-H", "Authorization: Bearer "+token, s.url+"/upload/big.mp4")
	if status != 202 {
		t.Fatalf("PUT /upload/big.mp4 = %d %q, want 202", status, body)
	}
	var id string
	eventually(t, "the conversion of the big video", func() bool {
		jobs, err := job.NewMongo(s.mongo.Database(s.env["MONGODB_DB"])).List(ctx(t), job.Query{Limit: 1})
		if err != nil || len(jobs) == 0 {
			t.Fatalf("List() = %v, %v", jobs, err)
		}
		id = jobs[0].ID
		return jobs[0].State == job.Notified
	})
	if status, body := curl(t, "-X", "DELETE", "-H", "Authorization: Bearer "+token, s.url+"/jobs/"+id); status != 204 {
		t.Fatalf("DELETE /jobs/%s = %d %q, want 204", id, status, body)
	}

	fid := bigMP3(t, s, size)
	start := time.Now()
	status, body = curl(t, "-o", os.DevNull, "-H", "Authorization: Bearer "+token, s.url+"/download?fid="+fid)
	if status != 200 {
		t.Fatalf("GET /download = %d %q, want 200", status, body)
	}
	t.Logf("%d bytes came down in %v", size, time.Since(start).Round(time.Second))
	for _, p := range s.processes {
		heap := p.peakHeap()
		t.Logf("%-9s peak Go heap %2d MiB", p.name, heap)
		if heap >= maxHeap {
			t.Errorf("%s had %d MiB on its heap, want less than %d", p.name, heap, maxHeap)
		}
	}
}

// pad makes an MP4 file as long as size by a box at its end that says nothing.
func pad(t *testing.T, file string, size int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	head := binary.BigEndian.AppendUint32(nil, 1) // the length follows in 64 bits
	head = append(head, "free"...)
	head = binary.BigEndian.AppendUint64(head, uint64(size-info.Size()))
	if _, err := f.Write(head); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// bigMP3 puts a file of zeros among the MP3s, as the result of a job of georgio's.
func bigMP3(t *testing.T, s *system, size int64) string {
	t.Helper()
	info := media.Info{ID: media.NewID(), Name: "big.mp3", Owner: "georgio@email.com"}
	w, err := media.NewGridFS(s.mongo.Database(s.env["MONGODB_MP3S_DB"]), nil).Create(ctx(t), info)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if info, err = w.Commit(ctx(t)); err != nil {
		t.Fatal(err)
	}
	_, err = job.NewMongo(s.mongo.Database(s.env["MONGODB_DB"])).Adopt(ctx(t), job.Job{
		ID: media.NewID(), Owner: info.Owner, Filename: "big.mp4", State: job.Notified, Round: 1, Progress: 100,
		MP3: &job.MP3{FID: info.ID, Length: info.Length, SHA256: info.SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
