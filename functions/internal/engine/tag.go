package engine

import (
	"maps"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
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
	t.Others = maps.Clone(t.Others)
	for name, value := range t.Others {
		t.Others[name] = strings.ToValidUTF8(value[:min(len(value), maxLyrics)], "")
	}
	if len(t.Cover) > maxCover {
		t.Cover = nil
	}
	start, end := o.Span()
	if !p.timed {
		start = max(start, p.begin)
	}
	t.Chapters = chaptersWithin(t.Chapters, start, end)
	return t
}

// maxText bounds each text of the tag, in bytes, and maxLyrics what may be longer.
const maxText, maxLyrics = 1024, 64 << 10

// chaptersWithin keeps the chapters between start and end (0 means open), in the time of what is left.
func chaptersWithin(cs []mp3.Chapter, start, end time.Duration) (kept []mp3.Chapter) {
	for _, c := range cs {
		if end > 0 {
			c.End = min(c.End, end)
		}
		c.End = max(c.End, c.Start)
		if c.Start < start && c.End <= start || end > 0 && c.Start >= end {
			continue
		}
		c.Start, c.End = max(0, c.Start-start), c.End-start
		kept = append(kept, c)
	}
	return kept
}

// chaptersOf moves chapters where the time was not kept, and ends them with the MP3. None is made longer or renamed.
func chaptersOf(cs []mp3.Chapter, moved []ffmpeg.Jump, made time.Duration) (kept []mp3.Chapter) {
	for _, c := range cs {
		for _, j := range moved {
			for _, t := range []*time.Duration{&c.Start, &c.End} {
				if *t > j.At {
					*t = max(j.At, *t-j.Length)
				}
			}
		}
		if c.End = min(c.End, made); c.Start < made {
			kept = append(kept, c)
		}
	}
	return kept
}
