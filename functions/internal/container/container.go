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
	ErrAbrupt      = errors.New("the file ends within a packet")
	ErrUnsupported = errors.New("the container cannot be read")
	ErrProtected   = errors.New("the file is copy-protected")
)

// The containers, by the names that ffmpeg gives their demuxers.
const (
	AAC      = "aac" // ADTS
	AC3      = "ac3"
	AIFF     = "aiff"
	AMR      = "amr"
	ASF      = "asf"
	AU       = "au"
	AVI      = "avi"
	CAF      = "caf"
	DTS      = "dts"
	EAC3     = "eac3"
	FLAC     = "flac"
	FLV      = "flv"
	Matroska = "matroska"
	MOV      = "mov" // and MP4
	MP3      = "mp3" // and MP2
	MPEGPS   = "mpeg"
	MPEGTS   = "mpegts"
	MXF      = "mxf"
	Ogg      = "ogg"
	RM       = "rm"
	TTA      = "tta"
	W64      = "w64"
	WAV      = "wav"
	WavPack  = "wv"
)

// File is a media file.
type File struct {
	Format string // the container, [MP3] and so on
	src    io.ReaderAt
	size   int64 // bytes
	tag    int64 // length of the ID3v2 tag in front, in bytes
	junk   int64 // bytes behind that, in front of an MP3

	Partial bool         // what is there of it is to be read although its end is missing
	Cut     atomic.Bool  // what was read has ended within an element
	Empty   atomic.Int64 // chunks of sound without any, in what was read last
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
	if name := Other(head); f.Format == "" && name != "" {
		return nil, &OtherError{name}
	}
	if f.Format == "" {
		return nil, ErrUnknown
	}
	if f.Format == MP3 && f.tag == 0 {
		f.junk = int64(max(0, mpegAudio(head)))
	}
	return f, f.protected()
}

// OtherError says that a file is of a kind that is known and not taken.
type OtherError struct{ Name string }

func (e *OtherError) Error() string { return e.Name + " is not supported" }

// Complete returns ErrTruncated when the file says how long it is, and its end is missing. ffmpeg reads such a file
// without complaint. A file whose writer left its end open (MPEG, Ogg, raw AAC and MP3, a live recording) gives
// ErrAbrupt when it ends within a packet, page or frame. MP4 is not looked at, nor are AC-3 and FLAC.
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
		return f.without(f.aviChunk(errs)), nil
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

// tailComplete returns ErrAbrupt when the file ends within a packet. length tells how long the packet is that the
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
				return fmt.Errorf("%w: the %s", ErrAbrupt, f.Format)
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
