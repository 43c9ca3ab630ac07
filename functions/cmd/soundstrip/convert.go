package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sethvargo/go-envconfig"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
)

const convertUsage = `usage: soundstrip convert [options] FILE…

Makes the MP3s of videos, beside them unless -o says where. Of a folder all media files in it are converted, and those
whose MP3 is there are left out. - is standard input: its MP3 goes to standard output. No server, no login, nothing but
ffmpeg is needed.

`

// The exit codes of soundstrip convert.
const (
	exitUsage = iota + 2
	exitUnsupported
	exitNoAudio
	exitTruncated
	exitLimit
)

const convertExits = `
exit codes, of the first video that failed:
  0  all MP3s are there, whole
  1  something went wrong that says nothing about the video, or the command was stopped
  2  this cannot be asked for: an option, no such video, an MP3 that is there already, start and end, the track
  3  the video is no media, or of a kind that cannot be read
  4  the video has no sound
  5  the video is not complete
  6  a limit: CONVERT_MAX_DURATION (12h), CONVERT_MAX_BYTES (2 GiB) or CONVERT_TIMEOUT (24h)

Of a video that failed no MP3 is left behind.
`

var exitCodes = map[string]int{
	engine.NotMedia:    exitUnsupported,
	engine.Unsupported: exitUnsupported,
	engine.NoAudio:     exitNoAudio,
	engine.Truncated:   exitTruncated,
	engine.TooLong:     exitLimit,
	engine.TooLarge:    exitLimit,
	engine.Timeout:     exitLimit,
	engine.OutOfRange:  exitUsage,
	engine.NoTrack:     exitUsage,
}

// conversion is what the command line asks for.
type conversion struct {
	paths       []string
	out         string // a folder, or of one video the file
	atOnce      int    // conversions
	force, json bool
	options     eventing.Options
}

func runConvert(ctx context.Context, env envconfig.Lookuper, args []string) error {
	c, err := parseConversion(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return usage("convert", err)
	}
	var cfg struct {
		Convert convert.Config
		Engine  engine.Config
	}
	if err := serve.Load(ctx, envconfig.MultiLookuper(env,
		envconfig.MapLookuper(map[string]string{"CONVERT_TIMEOUT": "24h"})), &cfg); err != nil {
		return err
	}
	encoder, err := engine.New(cfg.Engine, cfg.Convert.Timeout)
	if err != nil {
		return err
	}
	// A terminal that is closed stops the work as Ctrl-C does.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	all := &converter{Engine: encoder, conversion: c, timeout: cfg.Convert.Timeout, screen: newScreen(os.Stderr)}
	return all.run(ctx)
}

func usage(command string, err error) error {
	return &serve.Exit{Code: exitUsage, Err: fmt.Errorf("soundstrip %s: %w", command, err)}
}

// conversionFlags are the options of a conversion, by the names that [eventing.ParseOptions] knows.
var conversionFlags = []struct {
	name, usage string
	isBool      bool
}{
	{name: "bitrate", usage: "constant bitrate in `kbit/s`, 32 to 320"},
	{name: "quality", usage: "variable bitrate of quality `n`, 0 (best) to 9; 2 when neither is given"},
	{name: "start", usage: "`time` to begin at, 90.5 or 1:30.5"},
	{name: "end", usage: "`time` to end at"},
	{name: "mono", usage: "mix down to one channel", isBool: true},
	{name: "normalize", usage: "bring to -23 LUFS (EBU R 128)", isBool: true},
	{name: "track", usage: "`track` of the sound: its number from 1, or its language (de)"},
	{name: "partial", usage: "take what is there of a video that is cut off", isBool: true},
	{name: "title", usage: "`title` in the tag"},
	{name: "artist", usage: "`artist` in the tag"},
	{name: "album", usage: "`album` in the tag"},
}

// parseConversion reads the command line, with options before or after the videos. For -h it prints and gives
// flag.ErrHelp.
func parseConversion(args []string) (c conversion, err error) {
	values := url.Values{}
	f := flag.NewFlagSet("convert", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.out, "o", "", "`folder` for the MP3s, or of one video the file; - for standard output")
	f.IntVar(&c.atOnce, "j", runtime.GOMAXPROCS(0), "convert `n` videos at once")
	f.BoolVar(&c.force, "force", false, "replace MP3s that are there")
	f.BoolVar(&c.json, "json", false, "print a line of JSON for each video")
	addOptions(f, values)
	if c.paths, err = parseArgs(f, args, convertUsage, convertExits); err != nil {
		return c, err
	}
	stdin := slices.Contains(c.paths, standard)
	switch {
	case len(c.paths) == 0:
		return c, errors.New("no video is given; soundstrip convert -h tells the options")
	case stdin && len(c.paths) > 1:
		return c, errors.New("- is standard input: convert other videos by a command of their own")
	case c.atOnce < 1:
		return c, fmt.Errorf("-j %d: want at least 1", c.atOnce)
	case c.json && (c.out == standard || stdin && c.out == ""):
		return c, errors.New("--json and the MP3 cannot both go to standard output: name a file with -o")
	}
	c.options, err = eventing.ParseOptions(values)
	return c, err
}

// addOptions adds the options of a conversion, which go to values.
func addOptions(f *flag.FlagSet, values url.Values) {
	for _, o := range conversionFlags {
		set := func(v string) error {
			values.Set(o.name, v)
			return nil
		}
		if o.isBool {
			f.BoolFunc(o.name, o.usage, set)
		} else {
			f.Func(o.name, o.usage, set)
		}
	}
}

// parseArgs reads options before, between and behind the other arguments, which it gives. For -h it prints what comes
// before and behind the list of options, and gives flag.ErrHelp.
func parseArgs(f *flag.FlagSet, args []string, before, behind string) (others []string, err error) {
	for len(args) > 0 {
		err := f.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(os.Stdout)
			fmt.Print(before)
			f.PrintDefaults()
			fmt.Print(behind)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; soundstrip %s -h tells the options", err, f.Name())
		}
		if args = f.Args(); len(args) > 0 {
			others, args = append(others, args[0]), args[1:]
		}
	}
	return others, nil
}

// converter makes the MP3s that the command line asks for.
type converter struct {
	*engine.Engine
	conversion
	timeout time.Duration // of each
	screen  *screen
}

// result is what became of a video.
type result struct {
	File     string            `json:"file"`
	MP3      string            `json:"mp3,omitempty"`
	Duration float64           `json:"duration,omitempty"` // seconds, of the MP3
	Bytes    int64             `json:"bytes,omitempty"`    // of the MP3
	Notice   string            `json:"notice,omitempty"`   // what its owner should know of the MP3
	Error    *eventing.Failure `json:"error,omitempty"`
}

// find makes the list of videos, and counts those that are left out because their MP3 is there.
func (c conversion) find() (videos []video, left int, err error) {
	if c.paths[0] != standard {
		videos, left, err = findVideos(c.paths, c.out, func(v video) error { return mayWrite(v, c.force) })
		if err == nil && len(videos)+left == 0 {
			err = fmt.Errorf("there are no videos in %s", strings.Join(c.paths, ", "))
		}
		return videos, left, err
	}
	v := video{standard, cmp.Or(c.out, standard)}
	if v.mp3 == standard && term.IsTerminal(int(os.Stdout.Fd())) {
		return nil, 0, errors.New("the MP3 would be written to the terminal: name a file with -o")
	}
	return []video{v}, 0, mayWrite(v, c.force)
}

// run converts all videos, several at once. The error has the exit code of the first that failed.
func (c *converter) run(ctx context.Context) error {
	videos, left, err := c.find()
	if err != nil {
		return usage("convert", err)
	}
	began := time.Now()
	results, errs := make([]result, len(videos)), make([]error, len(videos))
	var group errgroup.Group
	group.SetLimit(c.atOnce)
	for i, v := range videos {
		group.Go(func() error {
			if ctx.Err() == nil {
				results[i], errs[i] = c.convert(ctx, v)
				c.report(results[i], errs[i], len(videos) > 1)
			}
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return errors.New("soundstrip convert: stopped")
	}
	first := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if len(videos)+left > 1 {
		summary := "soundstrip convert: " + summaryOf(results, left, began)
		if first < 0 {
			fmt.Fprintln(os.Stderr, summary)
			return nil
		}
		code := &serve.Exit{Code: 1}
		errors.As(errs[first], &code)
		return &serve.Exit{Code: code.Code, Err: errors.New(summary)}
	}
	return errors.Join(errs...)
}

// report tells of a video that is done; of the only one, the error is told at the end.
func (c *converter) report(r result, err error, several bool) {
	if err != nil && several {
		c.screen.print(os.Stderr, err.Error())
	}
	if c.json {
		line, _ := json.Marshal(r) // strings and numbers
		c.screen.print(os.Stdout, string(line))
	}
}

// summaryOf says what became of several videos.
func summaryOf(results []result, left int, began time.Time) string {
	made, bytes, seconds := 0, int64(0), 0.0
	for _, r := range results {
		if r.Error == nil {
			made, bytes, seconds = made+1, bytes+r.Bytes, seconds+r.Duration
		}
	}
	parts := []string{fmt.Sprintf("%d made", made)}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d there already", left))
	}
	if failed := len(results) - made; failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", failed))
	}
	d := time.Duration(seconds * float64(time.Second))
	return fmt.Sprintf("%s: %s, %s, %s", strings.Join(parts, ", "), clock(d), megabytes(bytes), speed(d, began))
}

// convert makes one MP3.
func (c *converter) convert(ctx context.Context, v video) (r result, err error) {
	r.File = v.path
	defer func() {
		if err != nil && r.Error == nil {
			r.Error = &eventing.Failure{Code: "convert", Message: err.Error()}
		}
	}()
	name := ""
	if len(c.paths) > 1 || c.paths[0] != v.path {
		name = filepath.Base(v.path)
	}
	bar := c.screen.add(name)
	defer bar.end()
	src, size, err := openVideo(ctx, v.path, bar)
	if err != nil {
		return r, err
	}
	defer func() { _ = src.Close() }() // it was only read
	dst, err := create(v.mp3, bar)
	if err != nil {
		return r, usage("convert", err)
	}
	defer func() { err = errors.Join(err, dst.Abort()) }()
	working, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	made, err := c.Convert(working, src, size, c.options, dst, bar.update)
	if err != nil {
		r.Error, err = failed(v, err)
		return r, err
	}
	if err := mayWrite(v, c.force); err != nil { // somebody else may have made it meanwhile
		return r, usage("convert", err)
	}
	if r.Bytes, err = dst.Commit(); err != nil {
		return r, fmt.Errorf("soundstrip convert: %w", err)
	}
	r.MP3, r.Duration, r.Notice = v.mp3, made.Duration.Seconds(), made.Notice
	bar.done(v.mp3, made.Duration, r.Bytes)
	if made.Notice != "" {
		c.screen.print(os.Stderr, v.mp3+": "+made.Notice)
	}
	return r, nil
}

// failed says why there is no MP3.
func failed(v video, err error) (*eventing.Failure, error) {
	f := (*engine.Failure)(nil)
	if !errors.As(err, &f) {
		return nil, fmt.Errorf("soundstrip convert: %s: %w", v, err)
	}
	if f.Passing {
		return &f.Failure, fmt.Errorf("soundstrip convert: %s: %w", v, err)
	}
	text := v.String() + ": " + f.Message
	if f.Err != nil {
		text += " (" + f.Err.Error() + ")"
	}
	return &f.Failure, &serve.Exit{Code: exitCodes[f.Code], Err: errors.New("soundstrip convert: " + text)}
}

// openVideo gives a file and its length in bytes. Of a pipe it makes a file without a name: an MP4 may be read from its
// end.
func openVideo(ctx context.Context, path string, bar *bar) (*os.File, int64, error) {
	if path != standard {
		f, size, err := openFile(path)
		if err != nil {
			err = usage("convert", err)
		}
		return f, size, err
	}
	if stat, err := os.Stdin.Stat(); err == nil && stat.Mode().IsRegular() {
		return os.Stdin, stat.Size(), nil
	}
	f, err := nameless()
	if err != nil {
		return nil, 0, fmt.Errorf("soundstrip convert: %w", err)
	}
	type copied struct {
		n   int64
		err error
	}
	done := make(chan copied, 1)
	go func() { // a read of standard input cannot be broken off: when the command is stopped, this ends with the process
		n, err := io.Copy(readingBar{f, bar}, os.Stdin)
		done <- copied{n, err}
	}()
	select {
	case c := <-done:
		if c.err != nil {
			return nil, 0, errors.Join(fmt.Errorf("soundstrip convert: standard input: %w", c.err), f.Close())
		}
		return f, c.n, nil
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// readingBar shows how much is read.
type readingBar struct {
	io.Writer
	bar *bar
}

func (r readingBar) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	r.bar.read(n)
	return n, err
}

// openFile gives a file and its length in bytes.
func openFile(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	stat, err := f.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, stat.Size(), nil
}
