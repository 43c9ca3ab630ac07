// Command convert is the function that makes the MP3 of a video.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	var c config
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	slog.SetDefault(serve.Log(os.Stderr, c.Serve.LogLevel))
	engine, err := convert.NewEngine(c.Convert)
	if err != nil {
		return err
	}
	client, err := mongodb.Connect(c.MongoDB)
	if err != nil {
		return err
	}
	jobs := job.NewMongo(client.Database(c.MongoDB.Database))
	videos, mp3s := media.NewGridFS(client.Database(c.MongoDB.Videos)), media.NewGridFS(client.Database(c.MongoDB.MP3s))
	return serve.Run(ctx, c.Serve, serve.Process{
		Name:    "convert",
		Handler: c.Events.Authenticated("convert", convert.New(jobs, videos, mp3s, engine, c.Convert)),
		Checks:  []serve.Check{{Name: "MongoDB", Ping: jobs.Ping}},
		Close:   []func(context.Context) error{client.Disconnect},
	})
}
