package engine

import (
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// maxCover bounds the picture that goes into the tag, in bytes.
const maxCover = 4 << 20

// tagOf makes the tag: what the user gave wins over what the source says.
func tagOf(p *plan, o eventing.Options) mp3.Tag {
	t := p.tag
	for _, x := range []struct {
		to   *string
		from string
	}{{&t.Title, o.Title}, {&t.Artist, o.Artist}, {&t.Album, o.Album}} {
		if x.from != "" {
			*x.to = x.from
		}
		*x.to = strings.ToValidUTF8((*x.to)[:min(len(*x.to), maxText)], "")
	}
	if len(t.Cover) > maxCover {
		t.Cover = nil
	}
	start, end := o.Span()
	t.Chapters = chaptersWithin(t.Chapters, max(start, p.delay+p.preroll), end)
	return t
}

// maxText bounds each text of the tag, in bytes.
const maxText = 1024

// chaptersWithin keeps the chapters between start and end (0 means open), in the time of what is left.
func chaptersWithin(cs []mp3.Chapter, start, end time.Duration) (kept []mp3.Chapter) {
	for _, c := range cs {
		if end > 0 {
			c.End = min(c.End, end)
		}
		c.Start = max(0, c.Start-start)
		c.End -= start
		if c.End > c.Start {
			kept = append(kept, c)
		}
	}
	return kept
}
