package convert

import (
	"errors"
	"time"
)

// Config is how long the work may take.
type Config struct {
	Timeout time.Duration `env:"CONVERT_TIMEOUT, default=570s"` // of one conversion, below that of the caller
	Lease   time.Duration `env:"CONVERT_LEASE, default=60s"`    // how long a worker may be silent
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	var errs []error
	if c.Timeout < time.Second {
		errs = append(errs, errors.New("CONVERT_TIMEOUT: want at least 1s"))
	}
	if c.Lease < 3*time.Second {
		errs = append(errs, errors.New("CONVERT_LEASE: want at least 3s"))
	}
	return errors.Join(errs...)
}
