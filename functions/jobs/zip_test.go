package jobs

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// add keeps a converted job, with an MP3 of its own.
func (s *setup) add(t *testing.T, n int, owner, filename string) (id string) {
	t.Helper()
	id, fid := fmt.Sprintf("b%023d", n), fmt.Sprintf("c%023d", n)
	s.jobs.jobs[id] = job.Job{ID: id, Owner: owner, Filename: filename, State: job.Notified, Created: uploaded,
		MP3: &job.MP3{FID: fid, Length: int64(len(sound)), SHA256: fid}}
	s.mp3s.infos[fid] = media.Info{ID: fid, Length: int64(len(sound)), Uploaded: uploaded}
	return id
}

func needCommand(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(name + " is not installed")
	}
	t.Skip(name + " is not installed: apt-get install " + name)
}

// names are odd, and what they become in an archive.
var names = []struct{ video, mp3 string }{
	{"a.mp4", "a.mp3"}, {"a.mov", "a (2).mp3"}, {"A.mkv", "A (3).mp3"}, {"a (2).mp4", "a (2) (2).mp3"},
	{"Übung ü 日本.mp4", "Übung ü 日本.mp3"}, {"../../etc/passwd.mp4", ".._.._etc_passwd.mp3"},
	{"no extension", "no extension.mp3"}, {`c:\x?.mp4`, "c__x_.mp3"}, {"bad \xff.mp4", "bad \uFFFD.mp3"},
}

func zipOfNames(t *testing.T) (s *setup, target string, want []string) {
	t.Helper()
	s = newSetup()
	q := url.Values{}
	for i, n := range names {
		q.Add("id", s.add(t, i, "georgio", n.video))
		want = append(want, n.mp3)
	}
	q.Add("id", q["id"][0]) // named again, it is there once
	return s, "/jobs/mp3s.zip?" + q.Encode(), want
}

// TestZipMeanwhile: each MP3 is there once, though a notice is recorded meanwhile, or an old program has the job.
func TestZipMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSetup()
	id := s.add(t, 1, "georgio", "handed over.mp4")
	handed, looks := s.jobs.jobs[id], 0
	handed.State = job.HandedOver
	s.jobs.jobs[id] = handed
	s.jobs.before = func(call, _ string) error {
		if looks++; call == "List" && looks > 1 {
			j := s.jobs.jobs[converted]
			j.State = job.Notified
			s.jobs.jobs[converted] = j
		}
		return nil
	}
	w := s.do("georgio", "GET", "/jobs/mp3s.zip?state=converted")
	r, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	if err != nil {
		t.Fatalf("GET = %d, %v", w.Code, err)
	}
	var got []string
	for _, f := range r.File {
		got = append(got, f.Name)
	}
	if diff := gocmp.Diff([]string{"handed over.mp3", "my video.mp3"}, got); diff != "" {
		t.Errorf("the archive has (-want +got):\n%s", diff)
	}
}

func TestZip(t *testing.T) {
	t.Parallel()
	s, target, want := zipOfNames(t)
	w := s.do("georgio", "GET", target)
	if w.Code != http.StatusOK || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
		t.Fatalf("GET %s = %d %v and %d bytes, want 200 and the length", target, w.Code, w.Header(), w.Body.Len())
	}
	r, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.File {
		got = append(got, f.Name)
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		if err != nil || !bytes.Equal(b, sound) || f.Method != zip.Store || !f.Modified.Equal(uploaded) || f.NonUTF8 {
			t.Errorf("%s has %d bytes (%v), method %d, time %v", f.Name, len(b), err, f.Method, f.Modified)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"Content-Type": "application/zip", "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": `attachment; filename="mp3s.zip"`, "Cache-Control": "private, no-cache",
	} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if s.mp3s.opened.Load() != 0 {
		t.Error("files are left open")
	}
}

// TestZipIsResumed asks another process for the rest from each of many places: it is that of the same file.
func TestZipIsResumed(t *testing.T) {
	t.Parallel()
	s, target, _ := zipOfNames(t)
	first := s.do("georgio", "GET", target)
	whole, etag := first.Body.Bytes(), first.Header().Get("Etag")
	places := []int{0, 1, 29, 30, 44, 45, 10_000, 10_060, len(whole) - 1, len(whole) - 22, len(whole) - 600}
	for range 50 {
		places = append(places, rand.IntN(len(whole)))
	}
	for _, from := range places {
		other, _, _ := zipOfNames(t)
		for _, method := range []string{"GET", "HEAD"} {
			w := other.do("georgio", method, target, "Range", fmt.Sprintf("bytes=%d-", from), "If-Range", etag)
			ranged := fmt.Sprintf("bytes %d-%d/%d", from, len(whole)-1, len(whole))
			if w.Code != http.StatusPartialContent || w.Header().Get("Content-Range") != ranged {
				t.Fatalf("%s from %d on = %d %v, want 206 and %s", method, from, w.Code, w.Header(), ranged)
			}
			if method == "GET" && !bytes.Equal(w.Body.Bytes(), whole[from:]) {
				t.Errorf("from %d on it is not the same", from)
			}
		}
		a, b := min(from, rand.IntN(len(whole))), from
		w := s.do("georgio", "GET", target, "Range", fmt.Sprintf("bytes=%d-%d", a, b))
		if !bytes.Equal(w.Body.Bytes(), whole[a:b+1]) {
			t.Errorf("from %d to %d it is not the same", a, b)
		}
	}
	for _, tt := range []struct {
		name   string
		header []string
		status int
	}{
		{"past the end", []string{"Range", fmt.Sprintf("bytes=%d-", len(whole))}, 416},
		{"had", []string{"If-None-Match", etag}, 304},
		{"another", []string{"Range", "bytes=1-", "If-Range", `"other"`}, 200},
		{"another expected", []string{"If-Match", `"other"`}, 412},
	} {
		if w := s.do("georgio", "GET", target, tt.header...); w.Code != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.status)
		}
	}
	again := s.jobs.jobs[fmt.Sprintf("b%023d", 1)]
	again.MP3 = &job.MP3{FID: theMP3} // of the same length
	s.jobs.jobs[again.ID] = again
	if got := s.do("georgio", "HEAD", target).Header().Get("Etag"); got == etag {
		t.Error("another archive has the same ETag")
	}
}

// TestZipOutOfOrder asks for two pieces of an MP3 that overlap, and are as long as it together.
func TestZipOutOfOrder(t *testing.T) {
	t.Parallel()
	s, target, _ := zipOfNames(t)
	s.do("georgio", "GET", target, "Range", "bytes=44-5043,1045-6044")
	other, _, _ := zipOfNames(t)
	want := other.do("georgio", "GET", target).Body.Bytes()
	if got := s.do("georgio", "GET", target, "Range", "bytes=10044-").Body.Bytes(); !bytes.Equal(got, want[10044:]) {
		t.Error("the CRC-32 is another after that")
	}
}

// TestZipReadsWhatItSends sees that a piece of one MP3 opens no other, but for the look at how long each is.
func TestZipReadsWhatItSends(t *testing.T) {
	t.Parallel()
	s, target, _ := zipOfNames(t)
	opened := map[string]int{}
	s.mp3s.before = func(_, id string) error {
		opened[id]++
		return nil
	}
	s.do("georgio", "GET", target, "Range", "bytes=100-199")
	for i := range names {
		want := 1
		if i == 0 {
			want = 2
		}
		if got := opened[fmt.Sprintf("c%023d", i)]; got != want {
			t.Errorf("MP3 %d was opened %d times, want %d", i, got, want)
		}
	}
	clear(opened)
	s.do("georgio", "GET", target)
	for id, n := range opened {
		if n != 2 {
			t.Errorf("for all of it the MP3 %s was opened %d times, want 2", id, n)
		}
	}
}

// TestZipIsRead has other people's programs read and test an archive.
func TestZipIsRead(t *testing.T) {
	t.Parallel()
	s, target, want := zipOfNames(t)
	name := filepath.Join(t.TempDir(), "mp3s.zip")
	if err := os.WriteFile(name, s.do("georgio", "GET", target).Body.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, name, want)
}

// check tests a ZIP file by unzip and by Python.
func check(t *testing.T, name string, want []string) {
	t.Helper()
	const list = `
import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
if sys.argv[2] == "test" and z.testzip(): sys.exit(1)
sys.stdout.buffer.write("".join(i.filename + "\n" for i in z.infolist()).encode())`
	for _, command := range [][]string{{"unzip", "-tqq", name}, {"python3", "-c", list, name, "test"}} {
		t.Run(command[0], func(t *testing.T) {
			t.Parallel()
			needCommand(t, command[0])
			out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", command, err, out)
			}
			if command[0] == "python3" {
				if diff := gocmp.Diff(strings.Join(want, "\n")+"\n", string(out)); diff != "" {
					t.Errorf("Python's names (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestZip64 has one MP3 above 4 GiB and a place above it for the next. Only its frames are written: the rest is a
// hole.
func TestZip64(t *testing.T) {
	t.Parallel()
	const long = 5 << 30
	a := &archive{sums: newSums(), entries: []entry{
		{name: "long.mp3", fid: "long", length: long, time: uploaded}, {name: "b.mp3", fid: "b", length: 7, time: uploaded},
	}}
	a.sums.Add("long", 0x1234)
	a.sums.Add("b", crc32.ChecksumIEEE(make([]byte, 7)))
	if err := a.layOut(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "long.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, start := range a.starts {
		if _, err := a.Seek(start, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, len(a.frames[i]))
		if _, err := io.ReadFull(iotest.OneByteReader(a), frame); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(frame, start); err != nil {
			t.Fatal(err)
		}
	}
	r, err := zip.NewReader(f, a.size)
	if err != nil || len(r.File) != 2 || r.File[0].UncompressedSize64 != long || r.File[0].CRC32 != 0x1234 {
		t.Fatalf("the archive is read as %+v, %v", r, err)
	}
	last, err := r.File[1].Open()
	if err == nil {
		_, err = io.Copy(io.Discard, last)
	}
	if err != nil {
		t.Errorf("behind 4 GiB: %v", err)
	}
	needCommand(t, "python3")
	out, err := exec.CommandContext(t.Context(), "python3", "-c", `
import sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print([(i.filename, i.file_size) for i in z.infolist()], z.read("b.mp3"))`, f.Name()).CombinedOutput()
	if want := fmt.Sprintf("[('long.mp3', %d), ('b.mp3', 7)] b'%s'\n", long, strings.Repeat(`\x00`, 7)); err != nil ||
		string(out) != want {
		t.Errorf("Python reads %s, %v, want %s", out, err, want)
	}
}

func TestZipOf(t *testing.T) {
	t.Parallel()
	many := "/jobs/mp3s.zip?id=" + converted
	for i := range maxBatch {
		many += "&id=" + strconv.Itoa(i)
	}
	for _, tt := range []struct {
		name, bearer, target string
		status               int
		says                 string
	}{
		{"an id", "georgio", "/jobs/mp3s.zip?id=" + converted, 200, "my video.mp3"},
		{"an id, to an admin", "admin", "/jobs/mp3s.zip?id=" + converted, 200, "my video.mp3"},
		{"one's own", "georgio", "/jobs/mp3s.zip?state=converted", 200, "my video.mp3"},
		{"one's own notified", "eve", "/jobs/mp3s.zip?state=converted", 200, "my video.mp3"},
		{"none of one's own", "admin", "/jobs/mp3s.zip?state=converted", 404, "you have no MP3s"},
		{"one's own, by a token without a name", "nobody", "/jobs/mp3s.zip?state=converted", 403, "names nobody"},
		{"nothing", "georgio", "/jobs/mp3s.zip", 400, "which MP3s?"},
		{"another state", "georgio", "/jobs/mp3s.zip?state=failed", 400, "state=converted"},
		{"both", "georgio", "/jobs/mp3s.zip?state=converted&id=" + converted, 400, "not both"},
		{"too many", "georgio", many, 400, "1000 at most"},
		{"an unknown one", "georgio", "/jobs/mp3s.zip?id=" + converted + "&id=" + unknown, 404, unknown},
		{"another's", "georgio", "/jobs/mp3s.zip?id=" + converted + "&id=" + eves, 404, eves},
		{"one without an MP3", "georgio", "/jobs/mp3s.zip?id=" + converting, 404, converting},
		{"a failed one", "georgio", "/jobs/mp3s.zip?id=" + failed, 404, failed},
		{"an expired one", "georgio", "/jobs/mp3s.zip?id=" + expired, 410, expired},
		{"one whose MP3 is gone", "georgio", "/jobs/mp3s.zip?id=" + mp3Gone, 410, mp3Gone},
		{"no token", "", "/jobs/mp3s.zip?id=" + converted, 401, "log in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newSetup().do(tt.bearer, "GET", tt.target)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("GET %.60s = %d %.200q, want %d and %q in it", tt.target, w.Code, w.Body, tt.status, tt.says)
			}
		})
	}
}

// TestZipBreaksOff loses an MP3 while the archive is sent: the client sees that it has not got all.
func TestZipBreaksOff(t *testing.T) {
	t.Parallel()
	s, target, _ := zipOfNames(t)
	looks := 0
	s.mp3s.before = func(string, string) error {
		if looks++; looks > len(names)+2 {
			return errStore
		}
		return nil
	}
	server := httptest.NewServer(s)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer georgio")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil || n == 0 {
		t.Errorf("%d of %d bytes came, and %v, want fewer and an error", n, answer.ContentLength, err)
	}
}

// BenchmarkZipLayout makes all of an archive but the MP3s: a thousand of 50 MB.
func BenchmarkZipLayout(b *testing.B) {
	entries := make([]entry, maxBatch)
	for i := range entries {
		entries[i] = entry{name: strconv.Itoa(i) + ".mp3", length: 50e6, time: time.Unix(0, 0)}
	}
	for b.Loop() {
		if _, err := frame(entries); err != nil {
			b.Fatal(err)
		}
	}
}
