package main

import (
	"context"
	"errors"
	"io"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
)

// runDead deals with the dead letters of the folder, also while a server runs from it, or of the RabbitMQ that AMQP_URL
// names.
func runDead(ctx context.Context, env envconfig.Lookuper, args []string, out io.Writer) (err error) {
	var c struct {
		Data string `env:"SOUNDSTRIP_DATA, default=.soundstrip"`
	}
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	f, err := openFolder(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	ts := triggers(convert.Config{})
	q, err := f.queue(ctx, env, ts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close(ctx)) }()
	return broker.DeadCommand(args, out, func(trigger string, fate func(broker.DeadLetter) (broker.Fate, error)) error {
		return ts.Dead(ctx, q, trigger, fate)
	})
}
