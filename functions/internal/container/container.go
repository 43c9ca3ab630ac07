// Package container reads what a media file says of itself: which container it is, whether its end is missing, and what
// it carries besides its sound. Each container has a file here, named for it, in which its headers are read; MP4 has a
// package.
//
// Sources: the specification of each container, named where it is read.
package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// What a file can be refused for. Any other error is that of reading it.
var (
	ErrUnknown     = errors.New("no known container")
	ErrTruncated   = errors.New("the end of the file is missing")
	ErrUnsupported = errors.New("the container cannot be read")
)

// The containers, by the names that ffmpeg gives their demuxers.
const (
	AAC      = "aac" // ADTS
	AC3      = "ac3"
	AIFF     = "aiff"
	ASF      = "asf"
	AVI      = "avi"
	CAF      = "caf"
	FLAC     = "flac"
	FLV      = "flv"
	Matroska = "matroska"
	MOV      = "mov" // and MP4
	MP3      = "mp3"
	MPEGPS   = "mpeg"
	MPEGTS   = "mpegts"
	Ogg      = "ogg"
	W64      = "w64"
	WAV      = "wav"
)

// File is a media file.
type File struct {
	Format string // the container, [MP3] and so on
	src    io.ReaderAt
	size   int64 // bytes
	tag    int64 // length of the ID3v2 tag in front, in bytes
}

// Open tells the container of a file of the given size in bytes, or ErrUnknown.
func Open(src io.ReaderAt, size int64) (*File, error) {
	f := &File{src: src, size: size}
	head, err := f.read(0, SniffLen)
	if err != nil {
		return nil, err
	}
	f.Format, f.tag = Sniff(head), tagLength(head)
	if f.tag >= int64(len(head)) {
		// The head is full of a tag with a picture.
		behind, err := f.read(f.tag, SniffLen)
		if err != nil {
			return nil, err
		}
		if format := Sniff(behind); format != "" {
			f.Format = format
		}
	}
	if f.Format == "" {
		return nil, ErrUnknown
	}
	return f, nil
}

// Complete returns ErrTruncated when the end of the file is missing. ffmpeg reads such a file without complaint. A
// container that does not say its length (MPEG, Ogg, raw AAC, a live recording) is incomplete when the file ends within
// a packet, page or frame. MP4 is not looked at, nor are AC-3 and FLAC.
func (f *File) Complete() error {
	switch f.Format {
	case Matroska:
		return f.matroskaComplete()
	case AVI, WAV:
		return f.riffComplete(binary.LittleEndian)
	case AIFF:
		return f.riffComplete(binary.BigEndian)
	case ASF:
		return f.asfComplete()
	case CAF:
		_, err := f.cafChunks()
		return err
	case MP3:
		return f.mp3Complete()
	case FLV:
		return f.flvComplete()
	case MPEGTS:
		return f.tsComplete()
	case MPEGPS:
		return f.tailComplete(psPacket)
	case Ogg:
		return f.tailComplete(oggPage)
	case AAC:
		return f.tailComplete(adtsFrame)
	}
	return nil
}

// Sound gives a reader of the file as ffmpeg is to get it by a pipe: without what is too much to hold in memory, and in
// an order that needs no seeking. It counts in errs the damage that it meets and that ffmpeg passes over without a
// word.
func (f *File) Sound(errs *atomic.Int64) (io.Reader, error) {
	switch f.Format {
	case Matroska:
		return f.without(matroskaElement), nil
	case AVI:
		return f.without(aviChunk(errs)), nil
	case WAV:
		return f.without(riffChunk(binary.LittleEndian, "data")), nil
	case AIFF:
		return f.without(riffChunk(binary.BigEndian, "SSND")), nil
	case FLAC:
		return f.without(flacBlock), nil
	case ASF:
		return f.without(asfObject), nil
	case Ogg:
		return f.without(f.oggPages()), nil
	case CAF:
		return f.cafReader()
	}
	return f.without(noElement), nil
}

// read reads up to n bytes at off; fewer at the end of the file.
func (f *File) read(off int64, n int) ([]byte, error) {
	b := make([]byte, min(int64(n), max(0, f.size-off)))
	if k, err := f.src.ReadAt(b, off); k < len(b) {
		return nil, err
	}
	return b, nil
}

// endsAt returns ErrTruncated when the file ends before its container does. Some writers count a header as well, or a
// byte of padding that is not there.
func (f *File) endsAt(end int64) error {
	const slack = 8
	if end > f.size+slack {
		return fmt.Errorf("%w: the %s has %d bytes of %d", ErrTruncated, f.Format, f.size, end)
	}
	return nil
}

// tailComplete returns ErrTruncated when the file ends within a packet. length tells how long the packet is that the
// bytes begin with: 0 when they are too few to tell, -1 when they begin with none. Something else at the end, such as a
// tag, says nothing.
func (f *File) tailComplete(length func([]byte) int) error {
	const longest = 1 << 16
	const inARow = 3 // chance makes the header of a packet, but not of several one after the other
	tail, err := f.read(max(0, f.size-(inARow+1)*longest), (inARow+1)*longest)
	if err != nil {
		return err
	}
	for len(tail) > 0 {
		rest, n := tail, 0
		for len(rest) > 0 {
			k := length(rest)
			if n >= inARow && (k == 0 || k > len(rest)) {
				return fmt.Errorf("%w: the %s ends within a packet", ErrTruncated, f.Format)
			}
			if k <= 0 || k > len(rest) {
				break
			}
			rest, n = rest[k:], n+1
		}
		if n >= inARow {
			tail = rest
		} else {
			tail = tail[1:]
		}
	}
	return nil
}
