// Command probe is the test's hand within the cluster: it keeps the mails that it gets and sends requests from a pod.
package main

import (
	"context"
	"errors"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c struct{ serve.Config }
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	var m mailbox
	return serve.Run(ctx, c.Config, serve.Process{
		Name:    "probe",
		Handler: handler(&m),
		Background: []func(context.Context) error{func(ctx context.Context) error {
			server := m.server()
			defer context.AfterFunc(ctx, func() { _ = server.Close() })()
			if err := server.ListenAndServe(); ctx.Err() == nil {
				return errors.Join(errors.New("mail server ended"), err)
			}
			return nil
		}},
	})
}
