package e2e

import (
	"encoding/xml"
	"io"
	"mime/quotedprintable"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testBatch gets several MP3s as one file, which breaks off; one by the link in a mail; and a podcast.
func testBatch(t *testing.T, s *system, token, mail string) {
	needCommand(t, "unzip")
	bearer := "Authorization: Bearer " + token
	archive, part := filepath.Join(t.TempDir(), "mp3s.zip"), filepath.Join(t.TempDir(), "part.zip")
	all := s.url + "/jobs/mp3s.zip?state=converted"
	run(t, "curl", "-sS", "--fail", "-o", archive, "-H", bearer, all)
	run(t, "curl", "-sS", "--fail", "-o", part, "-r", "0-20000", "-H", bearer, all)
	run(t, "curl", "-sS", "--fail", "-o", part, "-C", "-", "-H", bearer, all)
	run(t, "cmp", archive, part)
	run(t, "unzip", "-tqq", part)
	if names := run(t, "unzip", "-Z1", part); !strings.Contains(names, "lecture.mp3\n") ||
		!strings.Contains(names, "test.mp3\n") {
		t.Errorf("the archive has %q, want test.mp3 and lecture.mp3", names)
	}

	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(mail)))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`/jobs/\S+\?expires=\d+&signature=[\w-]+`).FindString(string(text))
	if status, body := curl(t, "-o", filepath.Join(t.TempDir(), "x.mp3"), s.url+link); status != 200 || link == "" {
		t.Errorf("GET of the mail's link %q = %d %s, want 200\n%s", link, status, body, text)
	}

	status, body := curl(t, "-X", "POST", "-H", bearer, s.url+"/users/me/feed")
	feed := regexp.MustCompile(`/feeds/\w+\.xml`).FindString(body)
	if status != 201 || !strings.Contains(body, `"`+s.url+"/feeds/") {
		t.Fatalf("POST /users/me/feed = %d %s, want 201 and an address of the gateway's", status, body)
	}
	var podcast struct {
		Enclosures []struct {
			URL string `xml:"url,attr"`
		} `xml:"channel>item>enclosure"`
	}
	status, body = curl(t, s.url+feed)
	if err := xml.Unmarshal([]byte(body), &podcast); err != nil || status != 200 || len(podcast.Enclosures) < 2 {
		t.Fatalf("GET %s = %d %s, %v, want MP3s", feed, status, body, err)
	}
	for _, e := range podcast.Enclosures {
		if status, _ := curl(t, "-o", filepath.Join(t.TempDir(), "x.mp3"), e.URL); status != 200 {
			t.Errorf("GET %s = %d, want 200", e.URL, status)
		}
	}
}
