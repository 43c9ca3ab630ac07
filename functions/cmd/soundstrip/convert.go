package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
)

const convertUsage = `usage: soundstrip convert [options] VIDEO

Makes the MP3 of a video, beside it unless -o says where. No server, no login, nothing but ffmpeg is needed.

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
exit codes:
  0  the MP3 is there, whole
  1  something went wrong that says nothing about the video, or the command was stopped
  2  this cannot be asked for: an option, no such video, an MP3 that is there already, start and end
  3  the video is no media, or of a kind that cannot be read
  4  the video has no sound
  5  the video is not complete
  6  a limit: CONVERT_MAX_DURATION (12h), CONVERT_MAX_BYTES (2 GiB) or CONVERT_TIMEOUT (24h)

With any but 0 no MP3 is left behind.
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
}

// conversion is what the command line asks for.
type conversion struct {
	video, mp3 string // mp3 is - for standard output
	force      bool
	options    eventing.Options
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
	ctx, cancel := context.WithTimeout(ctx, cfg.Convert.Timeout)
	defer cancel()
	return c.run(ctx, encoder)
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
	{name: "title", usage: "`title` in the tag"},
	{name: "artist", usage: "`artist` in the tag"},
	{name: "album", usage: "`album` in the tag"},
}

// parseConversion reads the command line, with options before or after the video. For -h it prints and gives
// flag.ErrHelp.
func parseConversion(args []string) (c conversion, err error) {
	values := url.Values{}
	f := flag.NewFlagSet("convert", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.mp3, "o", "", "`file` to write, - for standard output")
	f.BoolVar(&c.force, "force", false, "replace the file that is there")
	addOptions(f, values)
	videos, err := parseArgs(f, args, convertUsage, convertExits)
	if err != nil {
		return c, err
	}
	if len(videos) != 1 {
		return c, fmt.Errorf("%d videos are given, want one; soundstrip convert -h tells the options", len(videos))
	}
	c.video = videos[0]
	if c.mp3 == "" {
		c.mp3 = beside(c.video)
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

// beside is where the MP3 of a video goes that nobody names.
func beside(video string) string { return strings.TrimSuffix(video, filepath.Ext(video)) + ".mp3" }

func (c conversion) run(ctx context.Context, encoder *engine.Engine) (err error) {
	video, size, err := openVideo(c.video)
	if err != nil {
		return usage("convert", err)
	}
	defer func() { _ = video.Close() }() // it was only read
	if err := c.mayWrite(); err != nil {
		return usage("convert", err)
	}
	bar := newBar(os.Stderr)
	defer bar.clear()
	dst, err := c.create(bar)
	if err != nil {
		return usage("convert", err)
	}
	defer func() { err = errors.Join(err, dst.Abort()) }()
	made, err := encoder.Convert(ctx, video, size, c.options, dst, bar.update)
	if err != nil {
		return c.failed(ctx, err)
	}
	if err := c.mayWrite(); err != nil { // somebody else may have made it meanwhile
		return usage("convert", err)
	}
	length, err := dst.Commit()
	if err != nil {
		return fmt.Errorf("soundstrip convert: %w", err)
	}
	bar.done(c.mp3, made.Duration, length)
	return nil
}

// failed says why there is no MP3.
func (c conversion) failed(ctx context.Context, err error) error {
	f := (*engine.Failure)(nil)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errors.New("soundstrip convert: stopped")
	case !errors.As(err, &f) || f.Passing:
		return fmt.Errorf("soundstrip convert: %s: %w", c.video, err)
	}
	text := c.video + ": " + f.Message
	if f.Err != nil {
		text += " (" + f.Err.Error() + ")"
	}
	return &serve.Exit{Code: exitCodes[f.Code], Err: errors.New("soundstrip convert: " + text)}
}

// openVideo gives a file and its length in bytes.
func openVideo(path string) (*os.File, int64, error) {
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

// mayWrite reports why the MP3 cannot have the name it is to have, if so.
func (c conversion) mayWrite() error {
	if c.mp3 == "-" {
		return nil
	}
	there, err := os.Stat(c.mp3)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	source, err := os.Stat(c.video)
	switch {
	case err != nil:
		return err
	case os.SameFile(there, source):
		return fmt.Errorf("%s is the video itself: name another file with -o", c.mp3)
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s is no file: name another with -o", c.mp3)
	case !c.force:
		return fmt.Errorf("%s is there already: name another file with -o, or replace it with --force", c.mp3)
	}
	return nil
}
