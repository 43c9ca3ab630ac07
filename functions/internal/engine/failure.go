package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
)

// The codes of a [Failure].
const (
	NotMedia    = "not_media"    // nothing that may hold sound
	NoAudio     = "no_audio"     // no track of sound, or an empty one
	NoTrack     = "no_track"     // not the track of sound that was asked for
	Truncated   = "truncated"    // the file, or its sound, ends too early
	TooLong     = "too_long"     // more sound than CONVERT_MAX_DURATION
	TooLarge    = "too_large"    // an MP3 of more than CONVERT_MAX_BYTES
	OutOfRange  = "out_of_range" // start and end leave nothing
	Unsupported = "unsupported"  // media that cannot be read
	Timeout     = "timeout"      // more work than CONVERT_TIMEOUT allows
	Gone        = "gone"         // the video is no longer stored
	Killed      = "killed"       // passing: the converter was stopped from outside
	Storage     = "storage"      // passing: the video cannot be read, or the MP3 not be written
	Interrupted = "interrupted"  // passing: the work was broken off
)

// Failure is why a conversion made no MP3. Its code and message are for the owner of the video; the cause is for the
// log.
type Failure struct {
	eventing.Failure
	Passing bool // another try may succeed
	Err     error
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Code + ": " + f.Message
	}
	return fmt.Sprintf("%s: %s: %v", f.Code, f.Message, f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// permanent makes a failure that another try would meet again.
func permanent(cause error, code, format string, args ...any) *Failure {
	return &Failure{Failure: eventing.Failure{Code: code, Message: fmt.Sprintf(format, args...)}, Err: cause}
}

// passing makes a failure that says nothing about the video.
func passing(cause error, code, message string) *Failure {
	return &Failure{Failure: eventing.Failure{Code: code, Message: message}, Err: cause, Passing: true}
}

// StorageFailure is a passing one: the video cannot be read, or the MP3 not be written.
func StorageFailure(cause error) *Failure {
	return passing(cause, Storage, "the storage did not answer; the conversion is tried again")
}

// GoneFailure is a permanent one: the video is no longer stored.
func GoneFailure(cause error) *Failure {
	return permanent(cause, Gone, "the video is no longer stored: upload it again")
}

// FailureOf reads any error as a failure; what says nothing about the video is passing.
func FailureOf(err error) *Failure {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	return interrupted(err)
}

func interrupted(cause error) *Failure {
	return passing(cause, Interrupted, "the conversion was broken off; it is tried again")
}

func noAudio() *Failure {
	return permanent(nil, NoAudio, "the video has no track of sound: there is nothing to convert")
}

func emptySound() *Failure {
	return permanent(nil, NoAudio, "the video's track of sound is empty: there is nothing to convert")
}

func outOfRange() *Failure {
	return permanent(nil, OutOfRange, "there is no sound between the start and the end that were asked for: choose others")
}

func truncated(cause error) *Failure {
	return permanent(cause, Truncated,
		"the video is not complete: its end, or something within it, is missing; upload the whole file again, "+
			"or ask for what is there with partial=true")
}

func unsupported(cause error) *Failure {
	return permanent(cause, Unsupported,
		"the video is of a kind that cannot be read, or damaged: try to save it as MP4 first")
}

func (e *Engine) tooLong() *Failure {
	return permanent(nil, TooLong, "the video is longer than %v: ask for less of it with start and end", e.cfg.MaxDuration)
}

func (e *Engine) tooMuchWork(cause error) *Failure {
	return permanent(cause, Timeout, "the video takes longer than %v to convert: ask for less of it with start and end",
		e.timeout)
}

// failure reads what the file, the storage around it, or the run of ffmpeg returned.
func (e *Engine) failure(ctx context.Context, err error) *Failure {
	var stopped *ffmpeg.Stopped
	var exit *ffmpeg.ExitError
	switch {
	// The cause of the end may be another deadline, as of a heartbeat: that is not the work's own.
	case errors.As(err, &stopped) && errors.Is(ctx.Err(), context.DeadlineExceeded) && stopped.Busy:
		return e.tooMuchWork(err)
	case ctx.Err() != nil:
		// Whatever it looks like: a read of the storage that was cancelled, a process that was killed.
		return interrupted(errors.Join(context.Cause(ctx), err))
	case errors.As(err, &exit):
		return e.exitFailure(exit, err)
	}
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	return fileFailure(err)
}

// fileFailure reads what the containers say of a file.
func fileFailure(err error) *Failure {
	is := func(target error) bool { return errors.Is(err, target) }
	if other := (*container.OtherError)(nil); errors.As(err, &other) {
		return permanent(err, Unsupported, "%s is not supported: save it as MP4, MKV or WAV first", other.Name)
	}
	switch {
	case is(container.ErrUnknown):
		return permanent(err, NotMedia, "the file is no video or sound: upload one, such as MP4, MKV, WebM, MOV or AVI")
	case is(container.ErrTruncated), is(mp4.ErrTruncated):
		return truncated(err)
	case is(mp4.ErrEncrypted), is(container.ErrProtected):
		return permanent(err, Unsupported, "the sound is copy-protected: upload a video without copy protection")
	case is(mp4.ErrElsewhere):
		return permanent(err, Unsupported,
			"the sound is in another file that this one refers to: save the video as a self-contained one")
	case is(mp4.ErrMixed):
		return permanent(err, Unsupported,
			"the sound is of one kind here and of another there: save the video with one kind of sound first")
	case is(mp4.ErrUnsupported), is(container.ErrUnsupported), is(ffmpeg.ErrTooLarge):
		return unsupported(err)
	}
	return interrupted(err)
}

// cannotLoad is what a program exits with whose libraries are missing.
const cannotLoad = 127

// exitFailure reads how a run of ffmpeg ended.
func (e *Engine) exitFailure(exit *ffmpeg.ExitError, err error) *Failure {
	unknown := strings.Contains(exit.Lines, "Unknown encoder") || strings.Contains(exit.Lines, "Unknown decoder")
	switch {
	case exit.CPU:
		return e.tooMuchWork(err)
	case exit.Code == cannotLoad || unknown:
		return interrupted(err) // an ffmpeg that is not fit is no fault of the video
	case exit.Killed:
		return passing(err, Killed, "the converter was stopped in the middle; it is tried again")
	}
	return unsupported(err)
}
