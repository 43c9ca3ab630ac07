package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/soundstrip/soundstrip/functions/internal/mp3"
)

// screen is the end of a terminal with a bar for each thing that is under way; anywhere else it shows nothing.
type screen struct {
	out io.Writer // nil when it is no terminal

	mu    sync.Mutex
	bars  []*bar
	drawn time.Time
	lines int // that the bars have now
}

func newScreen(f *os.File) *screen {
	s := &screen{}
	if term.IsTerminal(int(f.Fd())) {
		s.out = f
	}
	return s
}

// bar shows how far something is.
type bar struct {
	screen  *screen // nil for a bar that nobody sees
	began   time.Time
	name    string        // may be empty
	bytes   int64         // read of a pipe
	made    time.Duration // of an MP3
	percent int           // 0 while it is not known
	text    string        // empty until there is something to show
}

// add makes a bar below those that are there.
func (s *screen) add(name string) *bar {
	b := &bar{screen: s, began: time.Now(), name: name}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bars = append(s.bars, b)
	return b
}

// update takes the engine's progress.
func (b *bar) update(percent int) { b.show(percent, "") }

// frame takes what is written: a frame of the MP3, or its tag.
func (b *bar) frame(p []byte) {
	if h, ok := mp3.ParseHeader(p); ok {
		b.made += time.Duration(h.Samples) * time.Second / time.Duration(h.Rate)
	}
	b.show(same, clock(b.made)+" "+speed(b.made, b.began))
}

// same is the percentage of a bar that keeps what it has.
const same = -1

// show draws the bars, unless they were drawn a moment ago. Without a text the bar keeps what it has.
func (b *bar) show(percent int, text string) {
	s := b.screen
	if s == nil || s.out == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if percent != same {
		b.percent = percent
	}
	if text != "" {
		b.text = text
	}
	if time.Since(s.drawn) >= 200*time.Millisecond {
		s.draw()
	}
}

const (
	keepLines = "\x1b[?7l" // what is longer than a line is cut
	wrapLines = "\x1b[?7h"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// draw is called with the lock.
func (s *screen) draw() {
	s.drawn = time.Now()
	var out strings.Builder
	out.WriteString(s.back())
	for _, b := range s.bars {
		if b.text != "" {
			fmt.Fprintf(&out, "%s%s\n", b, clearLine)
			s.lines++
		}
	}
	_, _ = io.WriteString(s.out, keepLines+out.String()+clearRest+wrapLines)
}

// back goes to the first of the lines.
func (s *screen) back() string {
	if s.lines == 0 {
		return "\r"
	}
	up := fmt.Sprintf("\r\x1b[%dA", s.lines)
	s.lines = 0
	return up
}

func (b *bar) String() string {
	const width = 30
	share := "    "
	if b.percent > 0 {
		share = fmt.Sprintf("%3d%%", b.percent)
	}
	done := width * b.percent / 100
	line := fmt.Sprintf("[%s%s] %s %s", strings.Repeat("#", done), strings.Repeat(".", width-done), share, b.text)
	if b.name != "" {
		line += " " + b.name
	}
	return line
}

// read takes how much more of a pipe is read, in bytes.
func (b *bar) read(n int) {
	b.bytes += int64(n)
	b.show(same, megabytes(b.bytes)+" read")
}

// done says what was made.
func (b *bar) done(path string, made time.Duration, bytes int64) {
	if b.screen.out != nil {
		b.screen.print(b.screen.out, fmt.Sprintf("%s: %s, %s, %s", path, clock(made), megabytes(bytes), speed(made, b.began)))
	}
}

// end takes a bar away.
func (b *bar) end() {
	s := b.screen
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bars = slices.DeleteFunc(s.bars, func(other *bar) bool { return other == b })
	if s.out != nil {
		s.draw()
	}
}

// print writes a line that stays, above the bars.
func (s *screen) print(to io.Writer, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		_, _ = io.WriteString(s.out, s.back()+clearRest)
	}
	fmt.Fprintln(to, line)
	if s.out != nil {
		s.draw()
	}
}

// speed is how many seconds of sound a second brings.
func speed(made time.Duration, began time.Time) string {
	return fmt.Sprintf("%.0fx", made.Seconds()/time.Since(began).Seconds())
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
