// Command login is the function that gives tokens and makes users.
package main

import (
	"context"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/login"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Configure(ctx, env, "login", &c, &c.Serve); err != nil {
		return err
	}
	signer, err := token.NewSigner(c.Token)
	if err != nil {
		return err
	}
	users, closeUsers, err := c.users(ctx)
	if err != nil {
		return err
	}
	return serve.Run(ctx, c.Serve, serve.Process{
		Name:    "login",
		Handler: serve.Small(login.New(users, signer, c.events(), c.Login)),
		Checks:  []serve.Check{{Name: "MySQL", Ping: users.Ping}},
		Close:   []func(context.Context) error{closeUsers},
	})
}
