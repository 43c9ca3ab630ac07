package jobs

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// makeFeed gives the path of a new feed.
func (s *setup) makeFeed(t *testing.T, bearer string) string {
	t.Helper()
	w := s.do(bearer, "POST", "/users/me/feed")
	var made struct{ URL string }
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated ||
		w.Header().Get("Location") != made.URL {
		t.Fatalf("POST = %d %v %s, want 201 and the URL as Location", w.Code, w.Header(), w.Body)
	}
	path, ok := strings.CutPrefix(made.URL, "http://example.com")
	if !ok || len(path) != len("/feeds/.xml")+26 {
		t.Fatalf("the address is %s", made.URL)
	}
	for hash := range s.feeds.owners {
		if strings.Contains(made.URL, hash) || len(hash) != 64 {
			t.Errorf("of the address %s the store keeps %q, want a hash", made.URL, hash)
		}
	}
	return path
}

// read is a podcast as a player reads it, by its namespaces.
type read struct {
	XMLName xml.Name `xml:"rss"`
	Version string   `xml:"version,attr"`
	Channel []struct {
		Title       []string   `xml:"title"`
		Description []string   `xml:"description"`
		Language    []string   `xml:"language"`
		Links       []struct { // RSS's own, and Atom's
			XMLName xml.Name
			Text    string `xml:",chardata"`
			Address string `xml:"href,attr"`
			Rel     string `xml:"rel,attr"`
		} `xml:"link"`
		Author   string `xml:"http://www.itunes.com/dtds/podcast-1.0.dtd author"`
		Explicit string `xml:"http://www.itunes.com/dtds/podcast-1.0.dtd explicit"`
		Block    string `xml:"http://www.itunes.com/dtds/podcast-1.0.dtd block"`
		Category struct {
			Text string `xml:"text,attr"`
		} `xml:"http://www.itunes.com/dtds/podcast-1.0.dtd category"`
		Items []struct {
			Title []string `xml:"title"`
			GUID  []struct {
				Permalink string `xml:"isPermaLink,attr"`
				ID        string `xml:",chardata"`
			} `xml:"guid"`
			Date      []string `xml:"pubDate"`
			Duration  []int    `xml:"http://www.itunes.com/dtds/podcast-1.0.dtd duration"`
			Enclosure []struct {
				URL    string `xml:"url,attr"`
				Length int64  `xml:"length,attr"`
				Type   string `xml:"type,attr"`
			} `xml:"enclosure"`
		} `xml:"item"`
	} `xml:"channel"`
}

func (s *setup) readFeed(t *testing.T, path string, header ...string) read {
	t.Helper()
	w := s.do("", "GET", path, header...)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/rss+xml; charset=utf-8" {
		t.Fatalf("GET %s = %d %v %s, want 200 and RSS", path, w.Code, w.Header(), w.Body)
	}
	var p read
	if err := xml.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("GET %s is no XML: %v\n%s", path, err, w.Body)
	}
	return p
}

// TestFeed holds a podcast to the rules of RSS 2.0 and of Apple that can be checked without them: see [rss]. What Apple
// asks for besides is a cover.
func TestFeed(t *testing.T) {
	t.Parallel()
	s := newSetup()
	for i, name := range []string{"a & b <c>.mp4", "Übung \x01.mp4", ".mp4"} {
		id := s.add(t, i, "georgio", name)
		j := s.jobs.jobs[id]
		j.MP3.Duration = 59.6 + float64(i)
		s.jobs.jobs[id] = j
	}
	titled := s.add(t, 9, "georgio", "x.mp4")
	j := s.jobs.jobs[titled]
	j.Options, j.MP3.Length = eventing.Options{Title: "A title"}, 0 // as of the old system, whose MP3s the store measures
	s.jobs.jobs[titled] = j
	s.add(t, 10, "eve", "eve's.mp4")

	path := s.makeFeed(t, "georgio")
	p := s.readFeed(t, path)
	if p.Version != "2.0" || len(p.Channel) != 1 {
		t.Fatalf("version %q and %d channels, want 2.0 and one", p.Version, len(p.Channel))
	}
	c := p.Channel[0]
	for name, values := range map[string][]string{
		"title": c.Title, "description": c.Description, "language": c.Language,
		"itunes:author": {c.Author}, "itunes:category": {c.Category.Text}, "itunes:explicit": {c.Explicit},
	} {
		if len(values) != 1 || values[0] == "" {
			t.Errorf("the channel's %s is %q, want one", name, values)
		}
	}
	if c.Block != "Yes" || c.Explicit != "false" {
		t.Errorf("itunes:block is %q and itunes:explicit %q", c.Block, c.Explicit)
	}
	if l := c.Links; len(l) != 2 || l[0].XMLName.Space != "" || l[0].Text != "http://example.com/" ||
		l[1].XMLName.Space != "http://www.w3.org/2005/Atom" || l[1].Rel != "self" ||
		l[1].Address != "http://example.com"+path {
		t.Errorf("the channel's links are %+v", l)
	}
	titles := []string{"A title", "b00000000000000000000002", "Übung \uFFFD", "a & b <c>", "my video"}
	if len(c.Items) != len(titles) {
		t.Fatalf("there are %d items, want %d", len(c.Items), len(titles))
	}
	seen := map[string]bool{}
	for i, item := range c.Items {
		if len(item.Title) != 1 || len(item.GUID) != 1 || len(item.Date) != 1 || len(item.Duration) != 1 ||
			len(item.Enclosure) != 1 {
			t.Fatalf("item %d is %+v, want one of each", i, item)
		}
		guid, e := item.GUID[0], item.Enclosure[0]
		if item.Title[0] != titles[i] || guid.Permalink != "false" || s.jobs.jobs[guid.ID].Owner != "georgio" ||
			seen[guid.ID] {
			t.Errorf("item %d is %+v, want the title %q and an id of its own", i, item, titles[i])
		}
		seen[guid.ID] = true
		if at, err := netmail.ParseDate(item.Date[0]); err != nil || !at.Equal(uploaded) {
			t.Errorf("item %d is of %q: %v", i, item.Date[0], err)
		}
		u, err := url.Parse(e.URL)
		if err != nil || !u.IsAbs() || !strings.HasSuffix(u.Path, ".mp3") || e.Type != "audio/mpeg" {
			t.Fatalf("item %d has the enclosure %+v, %v", i, e, err)
		}
		ends, err := strconv.ParseInt(u.Query().Get("expires"), 10, 64)
		if left := time.Until(time.Unix(ends, 0)); err != nil || ends%int64(sameFor/time.Second) != 0 || left < listenFor {
			t.Errorf("item %d is to be had for %v (%v), want %v at least, to the end of a day", i, left, err, listenFor)
		}
		whole := s.do("", "GET", u.RequestURI())
		if whole.Code != http.StatusOK || int64(whole.Body.Len()) != e.Length {
			t.Errorf("GET %s = %d, %d bytes, want %d", e.URL, whole.Code, whole.Body.Len(), e.Length)
		}
		if part := s.do("", "GET", u.RequestURI(), "Range", "bytes=5-9"); part.Code != 206 || part.Body.String() != "56789" {
			t.Errorf("GET of a range of %s = %d %s, want 206", e.URL, part.Code, part.Body)
		}
	}
	if d := c.Items[3].Duration[0]; d != 60 {
		t.Errorf("59.6 seconds are %d, want 60", d)
	}
}

// TestFeedAgain sees that a player which has the feed does not get it again until it changes.
func TestFeedAgain(t *testing.T) {
	t.Parallel()
	s := newSetup()
	path := s.makeFeed(t, "georgio")
	first := s.do("", "GET", path)
	etag := first.Header().Get("Etag")
	today := time.Now().UTC().Truncate(sameFor)
	again := s.do("", "GET", path, "If-None-Match", etag)
	if time.Now().UTC().Truncate(sameFor).Equal(today) && (again.Code != http.StatusNotModified || again.Body.Len() != 0) {
		t.Errorf("GET with the ETag %s = %d, want 304", etag, again.Code)
	}
	head := s.do("", "HEAD", path)
	if head.Code != http.StatusOK || head.Header().Get("Content-Length") != fmt.Sprint(first.Body.Len()) {
		t.Errorf("HEAD = %d %v, want the length %d", head.Code, head.Header(), first.Body.Len())
	}
	s.add(t, 1, "georgio", "new.mp4")
	if w := s.do("", "GET", path, "If-None-Match", etag); w.Code != http.StatusOK {
		t.Errorf("GET of a feed that has changed = %d, want 200", w.Code)
	}
}

// TestFeedHolds bounds a feed.
func TestFeedHolds(t *testing.T) {
	t.Parallel()
	s := newSetup()
	for i := range maxItems + 1 {
		id := s.add(t, i, "georgio", fmt.Sprint(i, ".mp4"))
		if i%2 == 0 {
			j := s.jobs.jobs[id]
			j.State = job.Converted
			s.jobs.jobs[id] = j
		}
	}
	items := s.readFeed(t, s.makeFeed(t, "georgio")).Channel[0].Items
	if len(items) != maxItems || items[0].Title[0] != fmt.Sprint(maxItems) || items[maxItems-1].Title[0] != "1" {
		t.Errorf("there are %d items, from %v to %v, want the newest %d", len(items), items[0].Title,
			items[len(items)-1].Title, maxItems)
	}
}

// TestFeedEnds makes a feed, another in its place, and ends that.
func TestFeedEnds(t *testing.T) {
	t.Parallel()
	s := newSetup()
	status := func(path string) int { return s.do("", "GET", path).Code }
	eves := s.makeFeed(t, "eve")
	first := s.makeFeed(t, "georgio")
	second := s.makeFeed(t, "georgio")
	if a, b := status(first), status(second); a != 404 || b != 200 {
		t.Errorf("with a second address the first has %d and the second %d, want 404 and 200", a, b)
	}
	for range 2 {
		if w := s.do("georgio", "DELETE", "/users/me/feed"); w.Code != http.StatusNoContent {
			t.Errorf("DELETE = %d %s, want 204", w.Code, w.Body)
		}
	}
	if a, b := status(second), status(eves); a != 404 || b != 200 {
		t.Errorf("after the end it has %d and another's %d, want 404 and 200", a, b)
	}
}

func TestFeedOrigin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, public string
		header       []string
		want         string
	}{
		{"the request's own", "", nil, "http://example.com"},
		{"the gateway's", "", []string{"X-Forwarded-Host", "s.example.org:8443", "X-Forwarded-Proto", "https"},
			"https://s.example.org:8443"},
		{"the configured", "https://public.example.org/", []string{"X-Forwarded-Host", "other"},
			"https://public.example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			path := s.makeFeed(t, "georgio")
			c := testConfig
			c.PublicURL = tt.public
			s.Handler = New(s.jobs, s.feeds, s.webhooks, s.videos, s.mp3s, nil, verify, c)
			ch := s.readFeed(t, path, tt.header...).Channel[0]
			got := ch.Items[0].Enclosure[0].URL
			if !strings.HasPrefix(got, tt.want+"/jobs/") || ch.Links[0].Text != tt.want+"/" {
				t.Errorf("the links are %v and an enclosure is at %s, want both at %s", ch.Links, got, tt.want)
			}
		})
	}
}

func TestFeedStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, bearer, method, target string
		err                          error
		status                       int
	}{
		{"make without a token", "", "POST", "/users/me/feed", nil, 401},
		{"make by a token without a name", "nobody", "POST", "/users/me/feed", nil, 403},
		{"make without the store", "georgio", "POST", "/users/me/feed", errStore, 503},
		{"end without a token", "", "DELETE", "/users/me/feed", nil, 401},
		{"end by a token without a name", "nobody", "DELETE", "/users/me/feed", nil, 403},
		{"end without the store", "georgio", "DELETE", "/users/me/feed", errStore, 503},
		{"show", "georgio", "GET", "/users/me/feed", nil, 405},
		{"guess", "", "GET", "/feeds/AAAAAAAAAAAAAAAAAAAAAAAAAA.xml", nil, 404},
		{"guess nothing", "", "GET", "/feeds/.xml", nil, 404},
		{"without the store", "", "GET", "/feeds/AAAAAAAAAAAAAAAAAAAAAAAAAA.xml", errStore, 503},
		{"change", "", "POST", "/feeds/AAAAAAAAAAAAAAAAAAAAAAAAAA.xml", nil, 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup()
			s.feeds.err = tt.err
			w := s.do(tt.bearer, tt.method, tt.target)
			if w.Code != tt.status || strings.Contains(w.Body.String(), "mongodb") {
				t.Errorf("%s %s = %d %s, want %d", tt.method, tt.target, w.Code, w.Body, tt.status)
			}
		})
	}
	s := newSetup()
	path := strings.TrimSuffix(s.makeFeed(t, "georgio"), ".xml")
	if w := s.do("", "GET", path); w.Code != http.StatusNotFound {
		t.Errorf("without .xml: %d, want 404", w.Code)
	}
}

// TestFeedWithoutMP3s loses what the old system made, and the store.
func TestFeedWithoutMP3s(t *testing.T) {
	t.Parallel()
	s := newSetup()
	path := s.makeFeed(t, "georgio") // which has one whose MP3 is gone, of unknown length
	if n := len(s.readFeed(t, path).Channel[0].Items); n != 1 {
		t.Errorf("there are %d items, want 1", n)
	}
	s.mp3s.before = func(string, string) error { return errStore }
	if w := s.do("", "GET", path); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without the MP3s' store: %d, want 503", w.Code)
	}
	s.mp3s.before, s.mp3s.infos = nil, map[string]media.Info{}
	s.jobs.before = func(string, string) error { return errStore }
	var w *httptest.ResponseRecorder
	if w = s.do("", "GET", path); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without the jobs' store: %d, want 503", w.Code)
	}
}
