package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// FuzzRange asks for any pieces of an MP3 and of a ZIP file: they are those of the whole, and not much more of it.
func FuzzRange(f *testing.F) {
	targets := map[bool]string{false: "/jobs/" + converted + "/mp3", true: "/jobs/mp3s.zip?id=" + converted}
	whole := map[bool][]byte{}
	for zipped, target := range targets {
		w := newSetup().do("georgio", http.MethodGet, target)
		if w.Code != http.StatusOK {
			f.Fatalf("GET %s = %d %s", target, w.Code, w.Body)
		}
		whole[zipped] = w.Body.Bytes()
	}
	for _, seed := range []string{"bytes=5-9", "bytes=9995-", "bytes=-3", "bytes=0-0,9999-", "bytes=10000-",
		"bytes=0-99,50-149,-10000", "bytes=44-5043,1045-6044", "bytes=9223372036854775807-", "bytes=-9223372036854775808",
		"BYTES=1-2", "bytes=2-1", "bytes=-0,-0", "bytes=-+00", "bytes=0-1, - 0"} {
		f.Add(seed, "", false)
		f.Add(seed, `"c0ffee"`, true)
	}
	s := newSetup()
	f.Fuzz(func(t *testing.T, pieces, since string, zipped bool) {
		all := whole[zipped]
		header := []string{"Range", pieces}
		if since != "" {
			header = append(header, "If-Range", since)
		}
		w := s.do("georgio", http.MethodGet, targets[zipped], header...)
		same := func(where string, got []byte) {
			var from, to, size int
			_, err := fmt.Sscanf(where, "bytes %d-%d/%d", &from, &to, &size)
			if err != nil || size != len(all) || from < 0 || to < from || to >= size || !bytes.Equal(got, all[from:to+1]) {
				t.Errorf("GET %s with %q gives %d bytes as %q (%v)", targets[zipped], pieces, len(got), where, err)
			}
		}
		switch w.Code {
		case http.StatusOK:
			if !bytes.Equal(w.Body.Bytes(), all) {
				t.Errorf("GET with %q gives %d bytes, want all %d", pieces, w.Body.Len(), len(all))
			}
		case http.StatusPartialContent:
			kind, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
			if kind != "multipart/byteranges" {
				same(w.Header().Get("Content-Range"), w.Body.Bytes())
				break
			}
			if most := len(all) + 250*(2+strings.Count(pieces, ",")); w.Body.Len() > most {
				t.Errorf("GET with %q gives %d bytes, want %d at most", pieces, w.Body.Len(), most)
			}
			r := multipart.NewReader(w.Body, params["boundary"])
			for err == nil {
				var p *multipart.Part
				if p, err = r.NextPart(); err == nil {
					var b []byte
					b, err = io.ReadAll(p)
					same(p.Header.Get("Content-Range"), b)
				}
			}
			if err != io.EOF { //nolint:errorlint // multipart returns it bare
				t.Errorf("parts of %q: %v", pieces, err)
			}
		case http.StatusRequestedRangeNotSatisfiable:
		default:
			t.Errorf("GET with %q = %d %s", pieces, w.Code, w.Body)
		}
	})
}

// FuzzList lists jobs by any query: nobody sees another's, nor more at once than is allowed.
func FuzzList(f *testing.F) {
	f.Add("state=converted&limit=2&before=" + converted)
	f.Add("owner=eve")
	f.Add("owner=*&limit=-1&state=")
	s := newSetup()
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/jobs", nil)
		r.URL = &url.URL{Path: "/jobs", RawQuery: query}
		r.Header.Set("Authorization", "Bearer georgio")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("GET /jobs?%s = %d %s", query, w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			return
		}
		var page struct{ Jobs []job.Job }
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Jobs) > maxLimit {
			t.Fatalf("GET /jobs?%s gives %d jobs, %v", query, len(page.Jobs), err)
		}
		for _, j := range page.Jobs {
			if s.jobs.jobs[j.ID].Owner != "georgio" {
				t.Errorf("GET /jobs?%s gives %s, which is another's", query, j.ID)
			}
		}
	})
}
