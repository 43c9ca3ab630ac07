package engine

import (
	"io"

	"github.com/soundstrip/soundstrip/functions/internal/container"
	"github.com/soundstrip/soundstrip/functions/internal/mp4"
	"github.com/soundstrip/soundstrip/functions/internal/splice"
)

// Sound gives a file that has the sound of a video and what that says of itself, and nearly nothing else. [Engine]
// makes the same MP3 of the one and of the other, to the bit. Each call gives the same bytes. The error is that of
// reading the video, or tells why it must be sent as it is.
func Sound(video io.ReaderAt, size int64) (*splice.File, error) {
	file, err := container.Open(video, size)
	if err != nil {
		return nil, err
	}
	if file.Format == container.MOV {
		x, err := mp4.Read(video, size)
		if err != nil {
			return nil, err
		}
		return x.NewSound(video)
	}
	return file.SoundAlone()
}
