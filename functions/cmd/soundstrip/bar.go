package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// bar shows on a terminal how far something is; anywhere else it shows nothing.
type bar struct {
	out          io.Writer // nil when it is no terminal
	began, drawn time.Time
	made         time.Duration // of an MP3
	percent      int           // 0 while it is not known
}

func newBar(f *os.File) *bar {
	b := &bar{began: time.Now()}
	if stat, err := f.Stat(); err == nil && stat.Mode()&os.ModeCharDevice != 0 {
		b.out = f
	}
	return b
}

// update takes the engine's progress.
func (b *bar) update(percent int) { b.percent = percent }

// frame takes what is written: a frame of the MP3, or its tag.
func (b *bar) frame(p []byte) {
	if h, ok := mp3.ParseHeader(p); ok {
		b.made += time.Duration(h.Samples) * time.Second / time.Duration(h.Rate)
	}
	b.show(clock(b.made) + " " + b.speed(b.made))
}

// show draws the bar with a text behind it, unless it was drawn a moment ago.
func (b *bar) show(text string) {
	if b.out == nil || time.Since(b.drawn) < 200*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	const width = 30
	share := "    "
	if b.percent > 0 {
		share = fmt.Sprintf("%3d%%", b.percent)
	}
	done := width * b.percent / 100
	fmt.Fprintf(b.out, "\r[%s%s] %s %s\x1b[K", strings.Repeat("#", done), strings.Repeat(".", width-done), share, text)
}

// speed is how many seconds of sound a second brings.
func (b *bar) speed(made time.Duration) string {
	return fmt.Sprintf("%.0fx", made.Seconds()/time.Since(b.began).Seconds())
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func (b *bar) clear() {
	if b.out != nil && !b.drawn.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// done says what was made.
func (b *bar) done(path string, made time.Duration, bytes int64) {
	if b.out == nil {
		return
	}
	b.clear()
	fmt.Fprintf(b.out, "%s: %s, %.1f MB, %s\n", path, clock(made), float64(bytes)/1e6, b.speed(made))
	b.drawn = time.Time{}
}
