package convert

import (
	"errors"
	"time"
)

// Config is what the conversion is told.
type Config struct {
	FFmpeg      string        `env:"FFMPEG, default=ffmpeg"`                // name or path; ffprobe lies beside it
	Timeout     time.Duration `env:"CONVERT_TIMEOUT, default=570s"`         // of one conversion, below that of the caller
	MaxDuration time.Duration `env:"CONVERT_MAX_DURATION, default=12h"`     // of the sound
	MaxBytes    int64         `env:"CONVERT_MAX_BYTES, default=2147483648"` // of the MP3
	Lease       time.Duration `env:"CONVERT_LEASE, default=60s"`            // how long a worker may be silent
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
	return errors.Join(errs...)
}
