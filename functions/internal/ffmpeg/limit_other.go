//go:build !linux

package ffmpeg

import "time"

// limit does nothing: only Linux lets one process bound another. The deadline holds everywhere.
func limit(int, time.Duration) error { return nil }
