package ffmpeg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxDescription bounds what ffprobe may write, in bytes: it holds texts and chapters of any number.
const maxDescription = 4 << 20

// Media is what ffprobe reads of a file.
type Media struct {
	Start                time.Duration // of the first stream; below 0 when it has samples not to be heard
	Duration             time.Duration // of the whole, 0 when not known
	Audio                []Stream
	Picture              int // index of the stream that is the cover; -1 when there is none
	Title, Artist, Album string
	Date                 string
	Others               map[string]string // what else the file says, by ffmpeg's names
	Chapters             []Chapter
}

// Stream is a stream of sound.
type Stream struct {
	Index    int
	Codec    string        // by ffmpeg's name, empty when it knows none
	Begin    time.Duration // after the first stream of the file
	End      time.Duration // of the sound, in the same time; 0 when not known
	Rate     int           // samples a second, 0 when not known
	Channels int           // 0 when not known
	Layout   string        // of the channels, by ffmpeg's name; empty when nobody says it
	Language string        // as the file has it
	Title    string
	Default  bool // players are to take it
	Aside    bool // a commentary, or for those who see or hear little
	tags     tags
}

// Chapter is a named part of the file.
type Chapter struct {
	Start, End time.Duration
	Title      string
}

// Probe reads what the beginning of the input tells.
func (t *Tool) Probe(ctx context.Context, in Input) (Media, error) {
	args := append(in.args("level+error"), "-of", "json", "-show_entries",
		"format=format_name,start_time,duration:format_tags:"+
			"stream=index,codec_type,codec_name,sample_rate,channels,channel_layout,start_time,duration:"+
			"stream_disposition=default,attached_pic,comment,visual_impaired,hearing_impaired:"+
			"stream_tags:chapter=start_time,end_time:chapter_tags=title")
	var b []byte
	err := t.run(ctx, t.ffprobe, in, args, func(r io.Reader) (err error) {
		b, err = read(r, maxDescription)
		return err
	}, func(string) {})
	if err != nil {
		return Media{}, err
	}
	var d description
	if err := json.Unmarshal(b, &d); err != nil {
		return Media{}, fmt.Errorf("read what ffprobe wrote: %w", err)
	}
	return d.media(), nil
}

// Overlong tells whether the decoder that ffmpeg would take makes more samples of the sound's first packet than the
// packet lasts. False is the answer, too, where the container does not tell how long a packet lasts.
func (t *Tool) Overlong(ctx context.Context, in Input, s *Stream) (bool, error) {
	args := append(in.args("level+error"), "-of", "json", "-select_streams", strconv.Itoa(s.Index),
		"-read_intervals", "%+#1", "-show_entries", "packet=duration_time:frame=nb_samples")
	var b []byte
	err := t.run(ctx, t.ffprobe, in, args, func(r io.Reader) (err error) {
		b, err = read(r, maxDescription)
		return err
	}, func(string) {})
	if err != nil {
		return false, err
	}
	var d struct {
		Both []struct { // a packet, and the frame that it decodes to
			Duration clock `json:"duration_time"`
			Samples  int   `json:"nb_samples"`
		} `json:"packets_and_frames"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return false, fmt.Errorf("read what ffprobe wrote: %w", err)
	}
	var lasts time.Duration
	samples := 0
	for _, x := range d.Both {
		lasts, samples = lasts+time.Duration(x.Duration), samples+x.Samples
	}
	return lasts > 0 && float64(samples) > 1.5*lasts.Seconds()*float64(s.Rate), nil
}

// Picture reads the picture that a stream is, or nothing when it has more bytes than limit.
func (t *Tool) Picture(ctx context.Context, in Input, stream int, limit int64) ([]byte, error) {
	args := append(in.args("level+error"), "-nostdin", "-nostats", "-map", "0:"+strconv.Itoa(stream), "-c", "copy",
		"-frames:v", "1",
		"-f", "image2pipe", "pipe:1")
	var b []byte
	err := t.run(ctx, t.ffmpeg, in, args, func(r io.Reader) (err error) {
		b, err = read(r, limit)
		return err
	}, func(string) {})
	if errors.Is(err, ErrTooLarge) {
		return nil, nil
	}
	return b, err
}

// description is ffprobe's JSON.
type description struct {
	Format struct {
		Name      string `json:"format_name"`
		StartTime clock  `json:"start_time"`
		Duration  clock
		Tags      tags
	}
	Streams []struct {
		Index       int
		Type        string `json:"codec_type"`
		Codec       string `json:"codec_name"`
		Rate        string `json:"sample_rate"`
		Channels    int
		Layout      string `json:"channel_layout"`
		StartTime   *clock `json:"start_time"`
		Duration    clock
		Disposition struct {
			Default int
			Picture int `json:"attached_pic"`
			Comment int
			Visual  int `json:"visual_impaired"`
			Hearing int `json:"hearing_impaired"`
		}
		Tags tags
	}
	Chapters []struct {
		StartTime clock `json:"start_time"`
		EndTime   clock `json:"end_time"`
		Tags      tags
	}
}

func (d description) media() Media {
	start := d.Format.StartTime
	m := Media{Start: time.Duration(start), Duration: time.Duration(d.Format.Duration), Picture: -1}
	of := d.Format.Tags
	for _, s := range d.Streams {
		switch {
		case s.Type == "audio":
			x := Stream{
				Index:    s.Index,
				Codec:    s.Codec,
				Channels: s.Channels,
				Layout:   s.Layout,
				Language: s.Tags.get("language"),
				Title:    s.Tags.get("title"),
				Default:  s.Disposition.Default == 1,
				Aside:    s.Disposition.Comment+s.Disposition.Visual+s.Disposition.Hearing > 0,
				tags:     s.Tags,
			}
			x.Rate, _ = strconv.Atoi(s.Rate)
			if s.StartTime != nil {
				x.Begin = max(0, time.Duration(*s.StartTime-start))
			}
			if s.Duration > 0 {
				x.End = x.Begin + time.Duration(s.Duration)
			} else {
				x.End = s.Tags.clock("duration") // Matroska's writers tell there where a track ends
			}
			m.Audio = append(m.Audio, x)
		case s.Type == "video" && s.Disposition.Picture == 1 && m.Picture < 0:
			m.Picture = s.Index
		}
	}
	if d.Format.Name == "ogg" && len(m.Audio) > 0 {
		of = m.Audio[0].tags // Ogg has no tags of the file
	}
	m.Title, m.Artist, m.Album, m.Date = of.get("title"), of.get("artist"), of.get("album"), of.get("date")
	m.Others = of
	for _, c := range d.Chapters {
		m.Chapters = append(m.Chapters, Chapter{
			Start: time.Duration(c.StartTime),
			End:   time.Duration(c.EndTime),
			Title: c.Tags.get("title"),
		})
	}
	return m
}

// clock is a time that ffprobe writes as a string of seconds; what is none is 0.
type clock time.Duration

// UnmarshalText never fails.
func (c *clock) UnmarshalText(b []byte) error {
	s, err := strconv.ParseFloat(string(b), 64)
	if err == nil && s > -1e9 && s < 1e9 {
		*c = clock(s * float64(time.Second))
	}
	return nil
}

// tags are names, in any case, and values.
type tags map[string]string

func (t tags) get(name string) string {
	for k, v := range t {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// clock reads a tag of the form hours:minutes:seconds.
func (t tags) clock(name string) time.Duration {
	var sum float64
	for p := range strings.SplitSeq(t.get(name), ":") {
		f, err := strconv.ParseFloat(p, 64)
		if err != nil || f < 0 || f > 1e6 {
			return 0
		}
		sum = sum*60 + f
	}
	return time.Duration(sum * float64(time.Second))
}
