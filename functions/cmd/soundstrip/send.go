package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sethvargo/go-envconfig"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/api"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/splice"
)

const sendUsage = `usage: soundstrip send [options] FILE…

Has a service make the MP3s of videos, and puts them beside these. Of MP4, MOV and Matroska only the sound is sent,
where that makes the same MP3 to the bit, and of Matroska the first 6 MB. What was interrupted goes on at the next call.
Of a folder all media files in it are sent, and those whose MP3 is there are left out.

`

// The exit codes of soundstrip send beside those of soundstrip convert.
const (
	exitLogin = iota + 7
	exitAway
)

const sendExits = `
exit codes, of the first video that failed:
  0  all MP3s are there, or with --no-wait all videos at the service
  1  something went wrong that says nothing about the video, or the command was stopped
  2  this cannot be asked for: an option, no such file, an MP3 that is there already, start and end
  3  the video is no media, or of a kind that cannot be read
  4  the video has no sound
  5  the video is not complete
  6  a limit of the service
  7  not logged in, or not allowed: soundstrip login
  8  the service cannot be reached
`

// sending is what the command line asks for.
type sending struct {
	url, out                 string
	wait, whole, force, json bool
	options                  url.Values
	videos                   []video

	client *api.Client
	state  string // the folder that remembers uploads
	screen *screen
	bar    *bar // of what is sent, or of the only video
	many   bool // videos
}

func runSend(ctx context.Context, env envconfig.Lookuper, args []string) error {
	s, err := parseSending(env, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return usage("send", err)
	}
	if s.client, err = connect("send", s.url); err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("soundstrip send: %w", err)
	}
	s.state = filepath.Join(cache, "soundstrip", "uploads")
	s.screen = newScreen(os.Stderr)
	s.bar = s.screen.add("")
	return s.run(ctx)
}

func parseSending(env envconfig.Lookuper, args []string) (*sending, error) {
	s := &sending{options: url.Values{}}
	f := flag.NewFlagSet("send", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	at := urlFlag(f, env)
	f.StringVar(&s.out, "out", "", "`folder` for the MP3s, or of one video the file")
	f.StringVar(&s.out, "o", "", "the same")
	noWait := f.Bool("no-wait", false, "end when the videos are at the service")
	f.BoolVar(&s.whole, "whole", false, "send all of the video, not only its sound")
	f.BoolVar(&s.force, "force", false, "replace MP3s that are there")
	f.BoolVar(&s.json, "json", false, "print a line of JSON for each video")
	addOptions(f, s.options)
	f.Func(job.RetentionField, "delete the MP3 at the service after this `time`: 90m, 12h, 7d", func(v string) error {
		s.options.Set(job.RetentionField, v)
		return nil
	})
	paths, err := parseArgs(f, args, sendUsage, sendExits)
	if err != nil {
		return nil, err
	}
	s.url, s.wait = strings.TrimSuffix(*at, "/"), !*noWait
	if len(paths) == 0 {
		return nil, errors.New("no video is given; soundstrip send -h tells the options")
	}
	if _, err := eventing.ParseOptions(s.options, job.RetentionField); err != nil {
		return nil, err
	}
	s.videos, _, err = findVideos(paths, s.out, func(v video) error {
		if s.wait {
			return mayWrite(v, s.force)
		}
		return nil
	})
	return s, err
}

// converting is how many jobs are waited for while the next video is sent.
const converting = 16

// hopeless reports whether the next video would fail as well.
func hopeless(err error) bool {
	var exit *serve.Exit
	return errors.As(sendError("", err), &exit) && exit.Code >= exitLogin
}

// run sends the videos one after the other, and waits for their jobs beside that.
func (s *sending) run(ctx context.Context) error {
	s.many = len(s.videos) > 1
	defer s.bar.end()
	var waiting errgroup.Group
	waiting.SetLimit(converting)
	var mu sync.Mutex
	var first error // that something failed with
	report := func(o outcome, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && !errors.Is(err, context.Canceled) {
			err = sendError("soundstrip send: "+o.File, err)
			if s.many {
				s.screen.print(os.Stderr, err.Error())
			}
		}
		if first == nil {
			first = err
		}
		s.print(o, err)
	}
	for _, v := range s.videos {
		o, err := s.send(ctx, v)
		if err != nil || !s.wait {
			report(o, err)
			if ctx.Err() != nil || hopeless(err) {
				break
			}
			continue
		}
		waiting.Go(func() error {
			report(s.finish(ctx, v, o))
			return nil
		})
	}
	_ = waiting.Wait()
	if ctx.Err() != nil {
		return errors.New("soundstrip send: stopped; the same command goes on where it was")
	}
	if first != nil && s.many {
		code := &serve.Exit{Code: 1}
		errors.As(first, &code)
		return &serve.Exit{Code: code.Code, Err: errors.New("soundstrip send: not all MP3s are there")}
	}
	return first
}

// outcome is what became of a video.
type outcome struct {
	File   string    `json:"file"`
	Job    string    `json:"job_id,omitempty"`
	State  job.State `json:"state,omitempty"`
	Sent   int64     `json:"sent"`   // bytes that the service has of it
	Length int64     `json:"length"` // of the file
	MP3    string    `json:"mp3,omitempty"`
	// Expires is when the service deletes its MP3.
	Expires *time.Time        `json:"expires,omitempty"`
	Notice  string            `json:"notice,omitempty"`
	Error   *eventing.Failure `json:"error,omitempty"`

	key string // of what is remembered
}

// amount says how much was sent.
func (o outcome) amount() string {
	if o.Sent < o.Length {
		return fmt.Sprintf("the sound, %s of %s", megabytes(o.Sent), megabytes(o.Length))
	}
	return megabytes(o.Sent)
}

func (s *sending) print(o outcome, err error) {
	if s.json {
		if err != nil && o.Error == nil {
			o.Error = &eventing.Failure{Code: "send", Message: err.Error()}
		}
		line, _ := json.Marshal(o)
		s.screen.print(os.Stdout, string(line))
		return
	}
	if err == nil && !s.wait {
		s.screen.print(os.Stdout, fmt.Sprintf("%s: %s sent, job %s", o.File, o.amount(), o.Job))
	}
}

// send sends one video, or what is missing of it, unless it has a job already.
func (s *sending) send(ctx context.Context, v video) (o outcome, err error) {
	o.File = v.path
	f, size, err := openFile(v.path)
	if err != nil {
		return o, &serve.Exit{Code: exitUsage, Err: err}
	}
	defer func() { _ = f.Close() }() // it was only read
	var src io.ReaderAt = f
	o.Length, o.Sent = size, size
	if sound := s.sound(f, size); sound != nil {
		src, o.Sent = sound, sound.Size()
	}
	o.key = s.key(f, o.Sent)
	known := s.recall(o.key)
	if known.Job != "" {
		o.Job = known.Job
		return o, nil
	}
	if known.Upload != "" {
		if _, _, err := s.client.Offset(ctx, known.Upload); answered(err, http.StatusNotFound) {
			known.Upload = ""
		} else if err != nil {
			return o, err
		}
	}
	if known.Upload == "" {
		metadata := map[string]string{"filename": filepath.Base(v.path)}
		for name := range s.options {
			metadata[name] = s.options.Get(name)
		}
		if known.Upload, err = s.client.Begin(ctx, o.Sent, metadata); err != nil {
			return o, err
		}
		if err := s.remember(o.key, known); err != nil {
			return o, err
		}
	}
	o.Job, err = s.client.Send(ctx, known.Upload, src, o.Sent, s.progress(v.path, o))
	if answered(err, http.StatusUnsupportedMediaType) {
		s.forget(o.key)
	}
	if err != nil {
		return o, err
	}
	return o, s.remember(o.key, memory{Job: o.Job})
}

// sound gives the sound of a video alone, where that makes the same MP3 and is worth it; nil otherwise. What is wrong
// with a video the service says.
func (s *sending) sound(f *os.File, size int64) *splice.File {
	if s.whole || s.options.Get("track") != "" {
		return nil // the service is to see all tracks
	}
	sound, err := engine.Sound(f, size)
	if err != nil || sound.Size() > size/10*9 {
		return nil
	}
	return sound
}

// progress shows how far an upload is.
func (s *sending) progress(path string, o outcome) func(int64) {
	began, first := time.Now(), int64(-1)
	return func(sent int64) {
		if first < 0 {
			first = sent
		}
		speed := float64(sent-first) / time.Since(began).Seconds()
		left := ""
		if speed > 0 {
			left = clock(time.Duration(float64(o.Sent-sent)/speed*float64(time.Second))) + " left"
		}
		s.bar.show(int(100*sent/max(1, o.Sent)),
			fmt.Sprintf("%s: %s, %s/s, %s", filepath.Base(path), o.amount(), megabytes(int64(speed)), left))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// finish waits for the job of a video, and fetches its MP3.
func (s *sending) finish(ctx context.Context, v video, o outcome) (outcome, error) {
	j, err := s.client.Await(ctx, o.Job, func(j job.Job) {
		if !s.many {
			s.bar.show(j.Progress, fmt.Sprintf("%s: %s", filepath.Base(v.path), j.State))
		}
	})
	if answered(err, http.StatusNotFound) {
		s.forget(o.key) // the next call sends it anew
	}
	if err != nil {
		return o, err
	}
	o.State = j.State
	if j.Error != nil {
		s.forget(o.key)
		o.Error = j.Error
		return o, &serve.Exit{Code: cmp.Or(exitCodes[j.Error.Code], 1), Err: errors.New(j.Error.Message)}
	}
	if j.MP3 == nil {
		s.forget(o.key)
		return o, fmt.Errorf("the job is %s", j.State)
	}
	if err := s.fetch(ctx, v, j); err != nil {
		return o, err
	}
	s.forget(o.key)
	o.MP3, o.Notice, o.Expires = v.mp3, j.Notice, j.Expires
	if !s.json {
		length := time.Duration(j.MP3.Duration * float64(time.Second))
		said := fmt.Sprintf("%s: %s, %s; sent: %s", v.mp3, clock(length), megabytes(j.MP3.Length), o.amount())
		if j.Expires != nil {
			said += "; the service keeps it until " + j.Expires.Local().Format(time.DateTime)
		}
		s.screen.print(os.Stdout, said)
		if o.Notice != "" {
			s.screen.print(os.Stdout, v.mp3+": "+o.Notice)
		}
	}
	return o, nil
}

// fetch writes the MP3 of a job where it is to be. Until it is whole it has another name.
func (s *sending) fetch(ctx context.Context, v video, j job.Job) (err error) {
	if err := mayWrite(v, s.force); err != nil {
		return &serve.Exit{Code: exitUsage, Err: err}
	}
	t, err := create(v.mp3, &bar{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Abort()) }()
	sum := sha256.New()
	if err := s.client.Fetch(ctx, j, io.MultiWriter(t.buf, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != j.MP3.SHA256 {
		return fmt.Errorf("the MP3 arrived with the SHA-256 %s, want %s", got, j.MP3.SHA256)
	}
	if err := t.buf.Flush(); err != nil {
		return err
	}
	_, err = t.Commit()
	return err
}

// memory is what is remembered of a video that is on its way: its upload, and then its job.
type memory struct {
	Upload string `json:"upload,omitempty"`
	Job    string `json:"job,omitempty"`
}

// key tells one upload from others: another service, file, length or option is another upload.
func (s *sending) key(f *os.File, length int64) string {
	path, _ := filepath.Abs(f.Name())
	modified := time.Time{}
	if stat, err := f.Stat(); err == nil {
		modified = stat.ModTime()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d\n%s",
		s.url, path, length, modified.UnixNano(), s.options.Encode()))
	return hex.EncodeToString(sum[:16])
}

func (s *sending) recall(key string) (m memory) {
	b, err := os.ReadFile(filepath.Join(s.state, key))
	if err == nil {
		_ = json.Unmarshal(b, &m) // what cannot be read is begun anew
	}
	return m
}

func (s *sending) remember(key string, m memory) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(s.state, key), b)
}

func (s *sending) forget(key string) { _ = os.Remove(filepath.Join(s.state, key)) }

// answered reports whether the service answered with the status.
func answered(err error, status int) bool {
	said := (*api.Error)(nil)
	return errors.As(err, &said) && said.Status == status
}

// sendError adds the exit code of an answer of the service.
func sendError(doing string, err error) error {
	if err == nil {
		return nil
	}
	code, said, network := (*serve.Exit)(nil), (*api.Error)(nil), (*url.Error)(nil)
	text := fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.As(err, &code):
		return &serve.Exit{Code: code.Code, Err: text}
	case errors.As(err, &said):
		switch said.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			return &serve.Exit{Code: exitLogin, Err: text}
		case http.StatusUnsupportedMediaType:
			return &serve.Exit{Code: exitUnsupported, Err: text}
		case http.StatusUnprocessableEntity:
			return &serve.Exit{Code: exitUsage, Err: text}
		case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
			return &serve.Exit{Code: exitLimit, Err: text}
		}
	case errors.As(err, &network):
		return &serve.Exit{Code: exitAway, Err: text}
	}
	return text
}
