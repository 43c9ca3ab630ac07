// Package ffmpeg drives the programs ffmpeg and ffprobe over media that nobody vouches for.
//
// Both read from a pipe, with no protocol but that, no demuxer but the one that the file's first bytes name, no
// environment, and limits on memory, CPU time and files that hold before the first byte is fed. HLS, DASH and concat
// uploads, which make ffmpeg open other files and addresses, therefore open nothing. Nothing that a user typed becomes
// an argument: arguments are made of numbers and constants only.
package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// ErrMissing says that a program is not there, and how to get it.
var ErrMissing = errors.New("ffmpeg with libmp3lame, and ffprobe, are needed: install them (Debian and Ubuntu: " +
	"apt-get install ffmpeg; " +
	"macOS: brew install ffmpeg; Fedora: dnf install ffmpeg-free), or name the program in FFMPEG")

// Tool is an installed ffmpeg.
type Tool struct {
	ffmpeg, ffprobe string
	cpu             time.Duration

	ffmpegBox, probeBox sandbox

	spent telemetry.Instrument // CPU time
}

// boxOf gives the sandbox of a program.
func (t *Tool) boxOf(program string) *sandbox {
	if program == t.ffprobe {
		return &t.probeBox
	}
	return &t.ffmpegBox
}

// Find looks for a program ffmpeg by path or name, and for the ffprobe beside it. Where the machine is new enough, it
// takes the build of the program for such machines, when one lies beside it with the suffix -v3: its LAME needs less
// CPU. A run may use the given CPU time. The error is ErrMissing.
func Find(name string, cpu time.Duration) (*Tool, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	probe, err := exec.LookPath(filepath.Join(filepath.Dir(path), "ffprobe"))
	if err != nil {
		probe, err = exec.LookPath("ffprobe")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if faster, err := exec.LookPath(path + "-v3"); err == nil && isV3() {
		path = faster
	}
	return &Tool{ffmpeg: path, ffprobe: probe, cpu: cpu,
		spent: telemetry.Count("soundstrip.conversion.cpu")}, nil
}

// isV3 tells whether the machine is of the level x86-64-v3 (System V ABI, AMD64 supplement, section 3.1.1).
func isV3() bool {
	x := cpu.X86
	return x.HasAVX && x.HasAVX2 && x.HasBMI1 && x.HasBMI2 && x.HasF16C && x.HasFMA && x.HasLZCNT && x.HasMOVBE
}

// Check runs ffmpeg to see that it can make MP3s. It takes a good part of a second where ffmpeg has many libraries to
// load. The error is ErrMissing.
func (t *Tool) Check(ctx context.Context) error {
	//nolint:gosec // the program that FFMPEG names
	out, err := exec.CommandContext(ctx, t.ffmpeg, "-hide_banner", "-h",
		"encoder=libmp3lame").CombinedOutput()
	if err == nil && !strings.Contains(string(out), "Encoder libmp3lame") {
		err = errors.New("it has no libmp3lame")
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMissing, t.ffmpeg, err)
	}
	return nil
}

// maxBlock is how many bytes ffmpeg may allocate at once: the index of a day of AAC takes 90 MB. A header may say that
// there are millions of packets, and memory for these is taken before they are looked for.
const maxBlock = "134217728"

// Input is what a run reads.
type Input struct {
	Demuxers string                // the only ones allowed, by ffmpeg's names
	Feed     func(io.Writer) error // writes the media; it may be cut short when no more is wanted
	File     *os.File              // instead of Feed: for a demuxer that must seek
	Decoder  string                // of the sound, by ffmpeg's name; empty for the one that ffmpeg would take
	Errors   *atomic.Int64         // counts the errors that a run tells of, when not nil
}

// args are those in front of any others. A file is given by its descriptor only: the one protocol then is file, but
// mov, the demuxer that it is used with, opens no other file unless told so (enable_drefs).
func (in Input) args(level string) []string {
	protocol, url := "pipe", "pipe:0"
	if in.File != nil {
		protocol, url = "file", "file:/dev/stdin"
	}
	args := []string{"-hide_banner", "-v", level, "-protocol_whitelist", protocol, "-format_whitelist", in.Demuxers,
		"-max_streams", "64", "-max_alloc", maxBlock}
	if in.Decoder != "" {
		args = append(args, "-c:a", in.Decoder)
	}
	return append(args, "-i", url)
}

// ExitError is a run that did not end well by itself: it failed, or somebody killed it.
type ExitError struct {
	Code   int    // -1 when it was killed
	Signal string // that killed it
	Killed bool   // by somebody: out of memory, or told to end
	CPU    bool   // by its limit of CPU time
	Lines  string // the last errors it wrote, for the log only
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("ffmpeg was ended by %s: %s", e.Signal, e.Lines)
	}
	return fmt.Sprintf("ffmpeg exited with %d: %s", e.Code, e.Lines)
}

// Stopped is a run ended by its context. Busy tells of a deadline whether the run had the CPU for most of the time, so
// that more of it was needed, or waited for something else.
type Stopped struct {
	Cause error
	Busy  bool
}

func (e *Stopped) Error() string { return "ffmpeg was stopped: " + e.Cause.Error() }
func (e *Stopped) Unwrap() error { return e.Cause }
