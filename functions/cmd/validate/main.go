// Command validate is the function that says what a token says.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/validate"
)

type config struct {
	Serve serve.Config
	Token token.VerifierConfig
}

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "validate", &c, &c.Serve); err != nil {
		return err
	}
	verifier, err := token.NewVerifier(c.Token)
	if err != nil {
		return err
	}
	return serve.Run(ctx, c.Serve, serve.Process{Name: "validate", Handler: serve.Small(validate.New(verifier))})
}
