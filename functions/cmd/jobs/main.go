// Command jobs is the function that shows jobs and gives out MP3s.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/jobs"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "jobs", &c, &c.Serve); err != nil {
		return err
	}
	verifier, err := token.NewVerifier(c.Token)
	if err != nil {
		return err
	}
	stores, err := mongodb.Open(c.MongoDB)
	if err != nil {
		return err
	}
	return serve.Run(ctx, c.Serve, serve.Process{
		Name: "jobs",
		Handler: serve.Small(jobs.New(
			stores.Jobs, stores.Feeds, stores.Webhooks, stores.Videos, stores.MP3s, c.Sink.Sender(), verifier, c.Jobs)),
		Checks: []serve.Check{{Name: "MongoDB", Ping: stores.Jobs.Ping}},
		Close:  []func(context.Context) error{stores.Close},
	})
}
