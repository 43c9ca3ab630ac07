// Command sweep sweeps once, prints its report as a line of JSON and exits: it is a CronJob's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/sweep"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "sweep", &c, &c.Serve); err != nil {
		return err
	}
	stores, err := mongodb.Open(c.MongoDB)
	if err != nil {
		return err
	}
	s := sweep.New(stores.Jobs, stores.Uploads, stores.Videos, stores.MP3s, c.Sink.Sender(), c.Sweep)
	if c.Login.URL != "" {
		s.WithAccounts(sweep.Accounts{Deleted: c.Login.Deletions(c.Sink.Secret), Feeds: stores.Feeds,
			Webhooks: stores.Webhooks})
	}
	report, err := s.Sweep(ctx)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(report), stores.Close(context.WithoutCancel(ctx)),
		c.Serve.Reports.Close(context.WithoutCancel(ctx)))
}
