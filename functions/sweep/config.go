package sweep

import (
	"errors"
	"time"
)

// Config says what the sweep takes for stuck, and for left behind.
type Config struct {
	Unsent      time.Duration `env:"SWEEP_UNSENT, default=1m"`       // age at which an event that nobody took is sent
	Stuck       time.Duration `env:"SWEEP_STUCK, default=5m"`        // silence after which a job's event is sent again
	Grace       time.Duration `env:"SWEEP_GRACE, default=24h"`       // age at which media of no job is removed
	Unanswered  time.Duration `env:"SWEEP_UNANSWERED, default=168h"` // silence after which nobody is waited for any more
	HandedOver  time.Duration `env:"SWEEP_HANDED_OVER"`              // the same beside old programs
	MaxAttempts int           `env:"SWEEP_MAX_ATTEMPTS, default=5"`  // whose worker went away, before a job is given up
	Interval    time.Duration `env:"SWEEP_INTERVAL, default=1m"`     // between two sweeps of Run
}

// Validate reports every value out of its range.
func (c Config) Validate() error {
	var errs []error
	for _, v := range []struct {
		ok    bool
		fault string
	}{
		{c.Unsent > 0, "SWEEP_UNSENT: want a duration above 0"},
		{c.Stuck > 0, "SWEEP_STUCK: want a duration above 0"},
		{c.Unanswered > 0, "SWEEP_UNANSWERED: want a duration above 0"},
		{c.HandedOver >= 0, "SWEEP_HANDED_OVER: want a duration, or 0 where there are no old programs"},
		{c.Grace > 0, "SWEEP_GRACE: want a duration above 0"},
		{c.MaxAttempts > 0, "SWEEP_MAX_ATTEMPTS: want at least 1"},
		{c.Interval > 0, "SWEEP_INTERVAL: want a duration above 0"},
	} {
		if !v.ok {
			errs = append(errs, errors.New(v.fault))
		}
	}
	return errors.Join(errs...)
}
