// Command convert is the function that makes the MP3 of a video.
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/ffmpeg"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	// What makes up the heap are chunks of the video, in which the collector has nothing to look for: letting it grow by
	// half, not to the double, takes no more CPU, and a fifth less memory.
	debug.SetGCPercent(50)
	var c config
	if err := serve.Configure(ctx, env, "convert", &c, &c.Serve); err != nil {
		return err
	}
	e, err := engine.New(c.Engine, c.Convert.Timeout)
	if errors.Is(err, ffmpeg.ErrMissing) && c.Serve.Service != "" {
		return fmt.Errorf("there is no %s in this image: ko has built it on its default base, because it has not found "+
			".ko.yaml; run ko in the repository's folder, after make images, or name a base with ffmpeg there",
			c.Engine.FFmpeg)
	}
	if err != nil {
		return err
	}
	stores, err := mongodb.Open(c.MongoDB)
	if err != nil {
		return err
	}
	handler := convert.New(stores.Jobs, stores.Videos, stores.MP3s, e, c.Convert)
	return serve.Run(ctx, c.Serve, serve.Process{
		Name:    "convert",
		Handler: c.Events.Authenticated("convert", handler),
		Checks:  []serve.Check{{Name: "MongoDB", Ping: stores.Jobs.Ping}},
		Close:   []func(context.Context) error{stores.Close},
	})
}
