package convert

import (
	"errors"
	"fmt"

	"github.com/soundstrip/soundstrip/eventing"
)

// The codes of a [Failure].
const (
	NotMedia    = "not_media"    // nothing that may hold sound
	NoAudio     = "no_audio"     // no track of sound, or an empty one
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

// Failure is why a conversion made no MP3. Its code and message are for the owner of the video; the cause is for the log.
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

// failureOf reads any error as a failure; what says nothing is passing.
func failureOf(err error) *Failure {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	return broken(err)
}

func broken(cause error) *Failure {
	return passing(cause, Interrupted, "the conversion was broken off; it is tried again")
}
