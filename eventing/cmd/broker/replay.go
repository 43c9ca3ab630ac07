package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

// command gives what the arguments ask for.
func command(args []string, out io.Writer) func(context.Context, envconfig.Lookuper) error {
	if len(args) == 0 {
		return run
	}
	flags := flag.NewFlagSet("broker replay", flag.ContinueOnError)
	trigger := flags.String("trigger", "", "whose dead letters to move back")
	wait := flags.Duration("wait", time.Minute, "how long it may take")
	if args[0] != "replay" {
		return func(context.Context, envconfig.Lookuper) error {
			return fmt.Errorf("there is no command %q: want none, or replay --trigger NAME", args[0])
		}
	}
	if err := flags.Parse(args[1:]); err != nil || *trigger == "" || flags.NArg() > 0 {
		return func(context.Context, envconfig.Lookuper) error {
			return errors.Join(err, errors.New("want broker replay --trigger NAME"))
		}
	}
	return func(ctx context.Context, env envconfig.Lookuper) error {
		ctx, cancel := context.WithTimeout(ctx, *wait)
		defer cancel()
		return replay(ctx, env, *trigger, out)
	}
}

func replay(ctx context.Context, env envconfig.Lookuper, trigger string, out io.Writer) error {
	var c broker.QueueConfig
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	n, err := c.Replay(ctx, trigger)
	fmt.Fprintf(out, "%d moved back to the queue of %s\n", n, trigger)
	return err
}
