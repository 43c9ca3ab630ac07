// Command broker carries events between functions over RabbitMQ. "broker dead" lists, shows, replays and drops
// dead letters.
package main

import (
	"context"
	"os"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

func main() { serve.Main(command(os.Args[1:], os.Stdout)) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c struct {
		Serve serve.Config
		broker.Config
	}
	if err := serve.Configure(ctx, env, "broker", &c, &c.Serve); err != nil {
		return err
	}
	queue, triggers, err := c.Open()
	if err != nil {
		return err
	}
	return serve.Run(ctx, c.Serve, serve.Process{
		Name:    "broker",
		Handler: eventing.Authenticated([]byte(c.Secret), "broker", broker.Ingress(queue)),
		Checks:  []serve.Check{{Name: "RabbitMQ", Ping: queue.Ping}},
		Background: []func(context.Context) error{
			broker.NewDispatcher(queue, triggers, []byte(c.Secret), nil).Run, queue.Contain,
		},
		Close: []func(context.Context) error{queue.Close},
	})
}
