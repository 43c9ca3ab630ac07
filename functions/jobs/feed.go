package jobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	// maxItems is how many MP3s a feed has: the newest. Players read all of a feed each time.
	maxItems = 300
	// A feed stays the same for a day when its MP3s do, and its addresses are valid for a week more.
	sameFor, listenFor = 24 * time.Hour, 7 * 24 * time.Hour
)

// makeFeed gives the bearer's feed a new secret address.
func (s *server) makeFeed(w http.ResponseWriter, r *http.Request) error {
	owner := token.FromContext(r.Context()).Owner()
	if owner == "" {
		return nobody()
	}
	secret := rand.Text() // 128 bits at least
	if err := s.feeds.Replace(r.Context(), owner, hashOf(secret)); err != nil {
		return unavailable(err)
	}
	address := s.origin(r) + "/feeds/" + secret + ".xml"
	w.Header().Set("Location", address)
	writeJSON(w, http.StatusCreated, struct {
		URL string `json:"url"`
	}{address})
	return nil
}

// endFeed ends the bearer's feed.
func (s *server) endFeed(w http.ResponseWriter, r *http.Request) error {
	owner := token.FromContext(r.Context()).Owner()
	if owner == "" {
		return nobody()
	}
	if err := s.feeds.End(r.Context(), owner); err != nil {
		return unavailable(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hashOf is what is kept of a secret. It is too long to be guessed, so that a fast hash will do.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// origin is what the addresses begin with that are read outside of our pages.
func (s *server) origin(r *http.Request) string {
	if s.public != "" {
		return s.public
	}
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + cmp.Or(r.Header.Get("X-Forwarded-Host"), r.Host)
}

// feed gives the podcast that the path's secret opens.
func (s *server) feed(w http.ResponseWriter, r *http.Request) error {
	secret, ok := strings.CutSuffix(r.PathValue("file"), ".xml")
	owner, err := "", job.ErrNotFound
	if ok {
		owner, err = s.feeds.Owner(r.Context(), hashOf(secret))
	}
	switch {
	case errors.Is(err, job.ErrNotFound):
		return problem.New(problem.NotFound, "there is no such feed: POST /users/me/feed makes one, and ends the one before")
	case err != nil:
		return unavailable(err)
	}
	found, err := s.withMP3(r.Context(), owner, maxItems)
	if err != nil {
		return err
	}
	name := "yours"
	if len(found) > 0 {
		name = found[0].Addressee()
	}
	p := podcast(name, s.origin(r), r.URL.Path)
	ends := time.Now().UTC().Truncate(sameFor).Add(sameFor + listenFor)
	for _, j := range found {
		length, err := s.lengthOf(r.Context(), j.MP3)
		switch {
		case errors.Is(err, media.ErrNotFound):
			continue
		case err != nil:
			return unavailable(fmt.Errorf("open MP3 %s: %w", j.MP3.FID, err))
		}
		p.Channel.Items = append(p.Channel.Items, item{
			Title:     titleOf(j),
			GUID:      guid{ID: j.ID},
			Date:      j.Created.UTC().Format(time.RFC1123Z),
			Duration:  int(math.Round(j.MP3.Duration)),
			Enclosure: enclosure{s.origin(r) + s.signed(j, "/jobs/"+j.ID+"/audio.mp3", ends), length, "audio/mpeg"},
		})
	}
	text, err := xml.MarshalIndent(p, "", " ")
	if err != nil {
		return fmt.Errorf("write feed: %w", err)
	}
	text = append([]byte(xml.Header), text...)
	h := w.Header()
	h.Set("Content-Type", "application/rss+xml; charset=utf-8")
	h.Set("ETag", `"`+hashOf(string(text))+`"`)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	serveContent(w, r, time.Time{}, bytes.NewReader(text))
	return nil
}

// lengthOf asks the store for the length of an MP3 whose job does not know it, because it began in the old system.
func (s *server) lengthOf(ctx context.Context, mp3 *job.MP3) (int64, error) {
	if mp3.Length > 0 {
		return mp3.Length, nil
	}
	f, err := s.mp3s.Open(ctx, mp3.FID)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Info().Length, nil
}

func titleOf(j job.Job) string {
	return cmp.Or(j.Options.Title, strings.TrimSuffix(j.Filename, path.Ext(j.Filename)), j.ID)
}

// rss is a podcast in RSS 2.0 (https://www.rssboard.org/rss-specification) with the tags that Apple asks for
// (https://podcasters.apple.com/support/823-podcast-requirements), but for a cover, which the owner has not given us.
// Chapters are in the MP3s themselves.
type rss struct {
	XMLName xml.Name `xml:"rss"`
	Version string   `xml:"version,attr"`
	ITunes  string   `xml:"xmlns:itunes,attr"`
	Atom    string   `xml:"xmlns:atom,attr"`
	Channel channel  `xml:"channel"`
}

type channel struct {
	Title       string   `xml:"title"`
	Link        string   `xml:"link"`
	Description string   `xml:"description"`
	Language    string   `xml:"language"`
	Self        self     `xml:"atom:link"`
	Author      string   `xml:"itunes:author"`
	Category    category `xml:"itunes:category"`
	Explicit    bool     `xml:"itunes:explicit"`
	Block       string   `xml:"itunes:block"` // Yes: it is not for directories
	Items       []item   `xml:"item"`
}

type self struct {
	Address string `xml:"href,attr"`
	Rel     string `xml:"rel,attr"`
	Type    string `xml:"type,attr"`
}

type category struct {
	Text string `xml:"text,attr"`
}

type item struct {
	Title     string    `xml:"title"`
	GUID      guid      `xml:"guid"`
	Date      string    `xml:"pubDate"`
	Duration  int       `xml:"itunes:duration"` // seconds
	Enclosure enclosure `xml:"enclosure"`
}

type guid struct {
	Permalink bool   `xml:"isPermaLink,attr"`
	ID        string `xml:",chardata"`
}

type enclosure struct {
	Address string `xml:"url,attr"`
	Length  int64  `xml:"length,attr"` // bytes
	Type    string `xml:"type,attr"`
}

// podcast is a feed without items.
func podcast(owner, origin, path string) rss {
	return rss{
		Version: "2.0", ITunes: "http://www.itunes.com/dtds/podcast-1.0.dtd", Atom: "http://www.w3.org/2005/Atom",
		Channel: channel{
			Title: "Soundstrip of " + owner, Link: origin + "/", Language: "en", Author: owner, Block: "Yes",
			Description: "The sound of the videos that " + owner + " has uploaded.",
			Category:    category{"Education"},
			Self:        self{origin + path, "self", "application/rss+xml"},
		},
	}
}
