package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mp3"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// plan is how a video is to be read, and what it says about itself.
type plan struct {
	name     string
	input    ffmpeg.Input
	stream   int                  // index of the sound in the input
	duration time.Duration        // of the sound; 0 when not known
	delay    time.Duration        // of ffmpeg's time, which begins with the first stream fed to it, after the video's
	lead     time.Duration        // of the sound, which is fed to the decoder and not heard
	mp3      bool                 // the sound is MP3 already
	gaps     *mp3.Gaps            // of that MP3, where it tells them itself
	skip     time.Duration        // at the beginning of that MP3, where its container tells it
	framing  *mp4.Framing         // follows a file without a size of the whole
	silent   func() time.Duration // how much of the duration has turned out to have no sound; nil when there is all of it
	tag      mp3.Tag
	close    func()
}

// maxTemp bounds a file that is laid down, in bytes.
const maxTemp = 2 << 30

// plan reads the container. ffmpeg is asked only about what the index of an MP4 does not tell.
func (f *FFmpeg) plan(ctx context.Context, s *source) (*plan, error) {
	head, err := s.read(0, media.SniffLen)
	if err != nil {
		return nil, err
	}
	container, err := sniff(s, head)
	if err != nil {
		return nil, err
	}
	if container == "" {
		return nil, notMedia(s.size)
	}
	if container == "mov" {
		return f.planMP4(ctx, s)
	}
	if err := whole(container, s); err != nil {
		return nil, err
	}
	errs := new(atomic.Int64)
	p := &plan{name: PlanPipe, input: ffmpeg.Input{Demuxers: container}, close: func() {}}
	p.input.Feed = func(w io.Writer) error { return copyAll(w, newUnladen(container, s, errs)) }
	if container == "caf" && variable(head) {
		chunks, err := cafChunks(s)
		if err != nil {
			return nil, err
		}
		p.input.Feed = func(w io.Writer) error { return copyAll(w, inOrder(s, chunks)) }
	}
	if err := f.probe(ctx, p); err != nil {
		return nil, err
	}
	switch container {
	case "mp3":
		p.gaps, err = mp3.ReadGaps(s)
	case "matroska", "avi", "asf", "caf":
		// They announce the time that the sound takes, with pauses, which ffmpeg leaves out, and frames that are not full. Where it met
		// an error, sound is missing.
		p.input.Errors = errs
		p.silent = func() time.Duration {
			if errs.Load() > 0 {
				return 0
			}
			return p.duration
		}
	}
	return p, err
}

// sniff tells the container, also where the head is full of a tag with a cover.
func sniff(s *source, head []byte) (string, error) {
	container := media.Sniff(head)
	tag := media.TagLen(head)
	if tag < int64(len(head)) {
		return container, nil
	}
	behind, err := s.read(tag, media.SniffLen)
	return cmp.Or(media.Sniff(behind), container), err
}

func notMedia(size int64) *Failure {
	if size == 0 {
		return permanent(nil, NotMedia, "the file is empty: upload it again")
	}
	return permanent(nil, NotMedia, "the file is no video or sound: upload one, such as MP4, MKV, WebM, MOV or AVI")
}

func noAudio() *Failure {
	return permanent(nil, NoAudio, "the video has no track of sound: there is nothing to convert")
}

// refused tells what is wrong with an MP4; any other error is as it was.
func refused(err error) error {
	switch {
	case errors.Is(err, mp4.ErrTruncated):
		return truncated(err)
	case errors.Is(err, mp4.ErrEncrypted):
		return permanent(err, Unsupported, "the sound is encrypted: upload a video without copy protection")
	case errors.Is(err, mp4.ErrElsewhere):
		return permanent(err, Unsupported, "the sound is in another file that this one refers to: save the video as a self-contained one")
	case errors.Is(err, mp4.ErrMixed):
		return permanent(err, Unsupported, "the sound is of one kind here and of another there: save the video with one kind of sound first")
	case errors.Is(err, mp4.ErrUnsupported):
		return unsupported(err)
	}
	return err
}

func (f *FFmpeg) planMP4(ctx context.Context, s *source) (*plan, error) {
	x, err := mp4.Read(s, s.size)
	switch {
	case errors.Is(err, mp4.ErrUnsupported):
		return f.planFile(ctx, s)
	case err != nil:
		return nil, refused(err)
	case x.Audio == nil:
		return nil, noAudio()
	}
	p := &plan{
		name:     PlanIndex,
		duration: x.Audio.Duration,
		delay:    x.Audio.Delay,
		mp3:      x.Audio.MP3,
		skip:     x.Audio.Skip,
		close:    func() {},
		tag:      mp3.Tag{Title: x.Tags.Title, Artist: x.Tags.Artist, Album: x.Tags.Album, Date: x.Tags.Date, Cover: x.Tags.Cover},
	}
	for _, c := range x.Chapters {
		p.tag.Chapters = append(p.tag.Chapters, mp3.Chapter(c))
	}
	p.input = ffmpeg.Input{Demuxers: "mov", Feed: func(w io.Writer) error { return x.Audio.WriteFile(w, s) }}
	if stream := x.Audio.Stream; stream != nil {
		p.delay, p.lead, p.silent = p.delay-stream.Lead, stream.Lead, stream.Silent
		p.input = ffmpeg.Input{Demuxers: "matroska", Feed: func(w io.Writer) error { return refused(stream.WriteFile(w, s)) }}
		return p, nil
	}
	if !x.Fragmented {
		return p, nil
	}
	p.name, p.framing = PlanPipe, new(mp4.Framing)
	p.input.Feed = func(w io.Writer) error {
		*p.framing = mp4.Framing{}
		return s.feed(io.MultiWriter(p.framing, w))
	}
	err = f.probe(ctx, p)
	p.duration = 0 // it was that of the fragments that were looked at
	return p, err
}

// planFile lays an MP4 down, because its demuxer must seek. The file has no name from the start, so that nothing finds it and
// nothing of it stays, whatever dies.
func (f *FFmpeg) planFile(ctx context.Context, s *source) (*plan, error) {
	if s.size > maxTemp {
		return nil, permanent(nil, Unsupported, "the video has an index that cannot be read at this size: save it as MP4 first")
	}
	file, err := os.CreateTemp("", "soundstrip-")
	if err != nil {
		return nil, fmt.Errorf("lay down video: %w", err)
	}
	p := &plan{name: PlanFile, input: ffmpeg.Input{Demuxers: "mov", File: file}, close: func() { _ = file.Close() }}
	err = errors.Join(os.Remove(file.Name()), s.feed(file))
	if err == nil {
		err = f.probe(ctx, p)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// probe asks ffmpeg what is in the input.
func (f *FFmpeg) probe(ctx context.Context, p *plan) error {
	m, err := f.tool.Probe(ctx, p.input)
	if err != nil {
		return err
	}
	if m.Audio == nil {
		return noAudio()
	}
	if m.Audio.Codec == "tta" && p.input.Demuxers == "matroska" {
		// ffmpeg takes the number of samples for that of whole milliseconds, and then cannot decode the last of them, up to a second.
		return permanent(nil, Unsupported, "the sound is TTA, which cannot be read to its end from Matroska: save the video with FLAC first")
	}
	p.stream, p.duration, p.delay, p.mp3 = m.Audio.Index, m.Audio.Duration, min(0, m.Start), m.Audio.Codec == "mp3"
	p.tag = mp3.Tag{Title: m.Title, Artist: m.Artist, Album: m.Album, Date: m.Date}
	for _, c := range m.Chapters {
		p.tag.Chapters = append(p.tag.Chapters, mp3.Chapter(c))
	}
	if m.Picture < 0 {
		return nil
	}
	p.tag.Cover, err = f.tool.Picture(ctx, p.input, m.Picture, maxCover)
	if exit := (*ffmpeg.ExitError)(nil); errors.As(err, &exit) && !exit.Killed {
		return nil // a picture that cannot be read is no reason to fail
	}
	return err
}
