// Command plain converts videos as one would without Soundstrip, for the benchmark to measure against: it takes each
// from GridFS into a temporary file, runs ffmpeg on that, and puts the MP3 into GridFS.
//
//	plain ffmpeg ID...   by ffmpeg -i VIDEO -vn -q:a 2
//	plain moviepy ID...  by moviepy, in the python3 of the PATH
//	plain pcm ID...      by what moviepy runs: one ffmpeg that decodes, and a second that encodes at 128 kbit/s
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) (err error) {
	ways := map[string]func(ctx context.Context, video, mp3 string) error{"ffmpeg": once, "moviepy": moviepy, "pcm": twice}
	if len(os.Args) < 3 || ways[os.Args[1]] == nil {
		return errors.New("want ffmpeg, moviepy or pcm, and the ids of videos")
	}
	var c mongodb.Config
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	client, err := mongodb.Connect(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Disconnect(ctx)) }()
	dir, err := os.MkdirTemp("", "plain-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	videos, mp3s := media.NewGridFS(client.Database(c.Videos), nil), media.NewGridFS(client.Database(c.MP3s), nil)
	for _, id := range os.Args[2:] {
		video, mp3 := filepath.Join(dir, "video"), filepath.Join(dir, "out.mp3")
		err := download(ctx, videos, id, video)
		if err == nil {
			err = ways[os.Args[1]](ctx, video, mp3)
		}
		if err == nil {
			err = upload(ctx, mp3s, mp3)
		}
		if err != nil {
			return fmt.Errorf("video %s: %w", id, err)
		}
	}
	return nil
}

func download(ctx context.Context, videos media.Store, id, to string) error {
	src, err := videos.Open(ctx, id)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func upload(ctx context.Context, mp3s media.Store, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	dst, err := mp3s.Create(ctx, media.Info{ID: media.NewID(), Name: "out.mp3"})
	if err == nil {
		_, err = io.Copy(dst, src)
	}
	if err == nil {
		_, err = dst.Commit(ctx)
	}
	return errors.Join(err, src.Close())
}

func ffmpeg(ctx context.Context, args ...string) *exec.Cmd {
	//nolint:gosec // constants, and paths made here
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"},
		args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

func once(ctx context.Context, video, mp3 string) error {
	return ffmpeg(ctx, "-i", video, "-vn", "-q:a", "2", mp3).Run()
}

func twice(ctx context.Context, video, mp3 string) error {
	pcm := []string{"-f", "s16le", "-acodec", "pcm_s16le", "-ar", "44100", "-ac", "2"}
	decode := ffmpeg(ctx, append(append([]string{"-i", video, "-vn"}, pcm...), "pipe:1")...)
	encode := ffmpeg(ctx, append(append(pcm[:len(pcm):len(pcm)], "-i", "pipe:0"), "-b:a", "128k", mp3)...)
	between, err := decode.StdoutPipe()
	if err != nil {
		return err
	}
	encode.Stdin = between
	if err := errors.Join(decode.Start(), encode.Start(), between.Close()); err != nil {
		return err
	}
	return errors.Join(encode.Wait(), decode.Wait())
}

func moviepy(ctx context.Context, video, mp3 string) error {
	const script = "import sys, moviepy.editor; " +
		"moviepy.editor.VideoFileClip(sys.argv[1]).audio.write_audiofile(sys.argv[2], logger=None)"
	cmd := exec.CommandContext(ctx, "python3", "-c", script, video, mp3) //nolint:gosec // a constant, and paths made here
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
