package mp3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Measured is what is known of a whole MP3 that somebody else made.
type Measured struct {
	Length   int64 // bytes
	SHA256   string
	Duration time.Duration // 0 when there is no frame
}

// id3Header is the length of the header of an ID3v2 tag, in bytes.
const id3Header = 10

// Measure reads an MP3 to its end.
func Measure(r io.Reader) (m Measured, err error) {
	sum := sha256.New()
	all := bufio.NewReaderSize(io.TeeReader(r, io.MultiWriter(sum, (*counter)(&m.Length))), 64<<10)
	tag, err := all.Peek(id3Header)
	if err == nil && string(tag[:3]) == "ID3" {
		size := int(tag[6]&0x7f)<<21 | int(tag[7]&0x7f)<<14 | int(tag[8]&0x7f)<<7 | int(tag[9]&0x7f)
		_, err = all.Discard(id3Header + size)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("read MP3: %w", err)
	}
	frames := NewReader(all)
	samples, rate := int64(0), 0
	for {
		h, frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, fmt.Errorf("read MP3: %w", err)
		}
		if rate == 0 {
			rate = h.Rate
			v, err := ReadVBRHeader(bytes.NewReader(frame), 0)
			if err != nil {
				return m, fmt.Errorf("read MP3: %w", err)
			}
			if v.Gaps != nil {
				samples -= int64(v.Gaps.Delay + v.Gaps.Padding)
			}
			if v != (VBRHeader{}) {
				continue // it has no sound
			}
		}
		samples += int64(h.Samples)
	}
	if samples > 0 {
		m.Duration = time.Duration(float64(samples) / float64(rate) * float64(time.Second))
	}
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return m, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
