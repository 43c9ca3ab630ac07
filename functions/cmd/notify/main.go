// Command notify is the function that tells people how their conversions ended.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/notify"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "notify", &c, &c.Serve); err != nil {
		return err
	}
	channels, err := c.channels()
	if err != nil {
		return err
	}
	stores, err := mongodb.Open(c.MongoDB)
	if err != nil {
		return err
	}
	f := notify.New(stores.Jobs, stores.Webhooks, stores.Videos, stores.MP3s, channels, c.Notify)
	return serve.Run(ctx, c.Serve, serve.Process{
		Name:    "notify",
		Handler: c.Events.Authenticated("notify", f),
		Checks:  []serve.Check{{Name: "MongoDB", Ping: stores.Jobs.Ping}},
		Close:   []func(context.Context) error{stores.Close},
	})
}
