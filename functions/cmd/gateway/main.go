// Command gateway is the one origin in front of the functions.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/gateway"
)

type config struct {
	Serve   serve.Config
	Gateway gateway.Config
}

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "gateway", &c, &c.Serve); err != nil {
		return err
	}
	h := gateway.New(c.Gateway.Routes(), c.Gateway.PublicURL)
	return serve.Run(ctx, c.Serve, serve.Process{Name: "gateway", Handler: h})
}
