package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

// wait is how long a command may take.
const wait = 5 * time.Minute

// command gives what the arguments ask for. "replay --trigger NAME" is short for "dead replay --trigger NAME --all".
func command(args []string, out io.Writer) func(context.Context, envconfig.Lookuper) error {
	if len(args) == 0 {
		return run
	}
	switch args[0] {
	case "dead":
		args = args[1:]
	case "replay":
		args = slices.Insert(slices.Clone(args), 1, "--all")
	default:
		return func(context.Context, envconfig.Lookuper) error {
			return fmt.Errorf("there is no command %q: want none, or\n%s", args[0], broker.DeadUsage)
		}
	}
	return func(ctx context.Context, env envconfig.Lookuper) error {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		return broker.DeadCommand(args, out, func(trigger string, fate func(broker.DeadLetter) (broker.Fate, error)) error {
			var c broker.QueueConfig
			if err := serve.Load(ctx, env, &c); err != nil {
				return err
			}
			return c.Dead(ctx, trigger, fate)
		})
	}
}
