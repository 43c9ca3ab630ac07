package convert

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Config is what the conversion is told.
type Config struct {
	FFmpeg      string        `env:"FFMPEG, default=ffmpeg"`                // name or path; ffprobe lies beside it
	Timeout     time.Duration `env:"CONVERT_TIMEOUT, default=570s"`         // of one conversion, below that of the caller
	MaxDuration time.Duration `env:"CONVERT_MAX_DURATION, default=12h"`     // of the sound
	MaxBytes    int64         `env:"CONVERT_MAX_BYTES, default=2147483648"` // of the MP3
	Lease       time.Duration `env:"CONVERT_LEASE, default=60s"`            // how long a worker may be silent
	Segments    Segments      `env:"CONVERT_SEGMENTS, default=auto"`        // how many encoders share a long sound
	Fanout      int           `env:"CONVERT_FANOUT"`                        // how many converters do; with 0 or 1 none is shared
}

// Segments is how many encoders share a long sound; with 0 or 1 none is shared.
type Segments int

const (
	// AutoSegments means as many as there are idle cores, up to four, on a machine of more than two: with fewer, two conversions
	// at once are the better use of them.
	AutoSegments Segments = -1
	// maxSegments is how many there may be.
	maxSegments = 16
)

// UnmarshalText reads a number, or auto.
func (s *Segments) UnmarshalText(b []byte) error {
	n, err := strconv.Atoi(string(b))
	switch {
	case string(b) == "auto":
		*s = AutoSegments
	case err != nil || n < 0 || n > maxSegments:
		return errors.New("want auto, or a number from 0 to 16")
	default:
		*s = Segments(n)
	}
	return nil
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	var errs []error
	if c.Timeout < time.Second {
		errs = append(errs, errors.New("CONVERT_TIMEOUT: want at least 1s"))
	}
	if c.MaxDuration < time.Second {
		errs = append(errs, errors.New("CONVERT_MAX_DURATION: want at least 1s"))
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("CONVERT_MAX_BYTES: want at least 1048576"))
	}
	if c.Lease < 3*time.Second {
		errs = append(errs, errors.New("CONVERT_LEASE: want at least 3s"))
	}
	if c.Fanout < 0 || c.Fanout > maxSegments {
		errs = append(errs, fmt.Errorf("CONVERT_FANOUT: want a number from 0 to %d", maxSegments))
	}
	return errors.Join(errs...)
}
