// Command upload is the function that takes videos.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/upload"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "upload", &c, &c.Serve); err != nil {
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
		Name:    "upload",
		Handler: upload.New(stores.Videos, stores.Jobs, stores.Uploads, c.Sink.Sender(), verifier, c.Upload),
		Checks: []serve.Check{
			{Name: "MongoDB", Ping: stores.Jobs.Ping},
			{Name: "uploads", Ping: upload.Room(stores.Videos, c.Upload)},
		},
		Close: []func(context.Context) error{stores.Close},
	})
}
