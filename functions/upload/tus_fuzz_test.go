package upload

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tus/tusd/v2/pkg/handler"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// FuzzTus begins an upload with any headers. None is our fault; what is accepted keeps its metadata, has the checksum
// that was given, and is as long as what was sent.
func FuzzTus(f *testing.F) {
	whole := metadata("filename", "a.mp4", "bitrate", "96")["Upload-Metadata"]
	sum := "sha1 " + base64.StdEncoding.EncodeToString(sumOf("sha1", video[:9000]))
	f.Add("200000", "", whole, "", sum, video[:9000])
	f.Add("9000", "", "filename", "", "md5 MQ==", video[:9000])
	f.Add("", "1", "title w5w=,,a b c", "partial", "crc32 AAAAAA==", []byte{})
	f.Add("9", "", "", "final;/files/"+strings.Repeat("a", 24)+" http://x/files/b", "", []byte(nil))
	f.Add("-1", "2", whole+","+whole, "final;", "sha256 ", []byte("text"))
	s := newTusSetup(f, 1<<20)
	h := New(s.videos, s.jobs, s.uploads, nothing{}, people{}, Config{MaxBytes: 1 << 20, Expires: time.Hour})
	f.Fuzz(func(t *testing.T, length, deferred, meta, concat, checksum string, body []byte) {
		do := func(method, target string, body []byte, all headers) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+owner)
			r.Header.Set("Tus-Resumable", tusVersion)
			for k, v := range all {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Skip("no server reads such a header")
				}
				if v != "" {
					r.Header.Set(k, v)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		all := headers{"Upload-Length": length, "Upload-Defer-Length": deferred, "Upload-Metadata": meta,
			"Upload-Concat": concat, "Upload-Checksum": checksum, "Content-Type": pieceType}
		before := s.kept(t)
		w := do(http.MethodPost, "/files", body, all)
		path := w.Header().Get("Location")
		switch {
		case w.Code >= 500:
			t.Fatalf("POST %q = %d %s", all, w.Code, w.Body)
		case w.Code != http.StatusCreated:
			if after := s.kept(t); after != before {
				t.Errorf("POST %q = %d, and there are %d jobs, %d before", all, w.Code, after, before)
			}
			return
		}
		head := do(http.MethodHead, path, nil, nil)
		if head.Code != http.StatusOK {
			t.Fatalf("HEAD %s = %d %s after %q", path, head.Code, head.Body, all)
		}
		sent, kept := handler.ParseMetadataHeader(meta), handler.ParseMetadataHeader(head.Header().Get("Upload-Metadata"))
		if diff := cmp.Diff(sent, kept); diff != "" {
			t.Errorf("metadata (-sent +kept):\n%s", diff)
		}
		offset, err := strconv.Atoi(head.Header().Get("Upload-Offset"))
		if err != nil || offset != len(body) {
			t.Errorf("Upload-Offset is %d (%v), want %d", offset, err, len(body))
		}
		if algorithm, encoded, _ := strings.Cut(checksum, " "); checksum != "" && len(body) > 0 {
			want, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || !bytes.Equal(want, sumOf(algorithm, body)) {
				t.Errorf("%d bytes are taken that do not have the checksum %q", len(body), checksum)
			}
		}
		if w := do(http.MethodDelete, path, nil, nil); w.Code != http.StatusNoContent && w.Code != http.StatusForbidden {
			t.Errorf("DELETE %s = %d %s", path, w.Code, w.Body)
		}
	})
}

// kept is how many jobs there are.
func (s *tusSetup) kept(t *testing.T) int {
	t.Helper()
	all, err := s.jobs.List(t.Context(), job.Query{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func sumOf(algorithm string, b []byte) []byte {
	h := checksums[algorithm]()
	_, _ = io.Copy(h, bytes.NewReader(b))
	return h.Sum(nil)
}
