package convert

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// heavyID3 makes a tag of version 2.4 with a title and a picture of so many bytes.
func heavyID3(picture int) []byte {
	syncsafe := func(n int) []byte {
		return []byte{byte(n >> 21 & 0x7f), byte(n >> 14 & 0x7f), byte(n >> 7 & 0x7f), byte(n & 0x7f)}
	}
	frame := func(id string, body []byte) []byte {
		return slices.Concat([]byte(id), syncsafe(len(body)), []byte{0, 0}, body)
	}
	frames := slices.Concat(frame("APIC", append([]byte("\x00image/jpeg\x00\x03\x00"), make([]byte, picture)...)), frame("TIT2", []byte("\x03Title")))
	return slices.Concat([]byte("ID3\x04\x00\x00"), syncsafe(len(frames)), frames)
}

// element makes one of Matroska.
func element(id string, body []byte) []byte {
	return slices.Concat([]byte(id), binary.BigEndian.AppendUint64(nil, 1<<56|uint64(len(body))), body)
}

// insert puts a piece in front of, or behind, the first bytes of a kind.
func insert(b []byte, behind bool, mark string, piece []byte) []byte {
	at := bytes.Index(b, []byte(mark))
	if behind {
		at += len(mark)
	}
	return slices.Concat(b[:at], piece, b[at:])
}

// TestConvertBallast converts files with too much beside their sound: it becomes the same as without.
func TestConvertBallast(t *testing.T) {
	t.Parallel()
	const size = maxBallast + 1<<20
	e := newEngine(t, testConfig)
	be, le := binary.BigEndian, binary.LittleEndian
	sound := func(name string, args ...string) []byte {
		return read(t, makeFile(t, "ballast."+name, append([]string{"-f", "lavfi", "-i", tone}, args...)...))
	}
	mp3, aac, flac := sound("mp3", "-c:a", "libmp3lame", "-id3v2_version", "0"), sound("aac", "-c:a", "aac"), sound("flac")
	wav, aiff, ogg := sound("wav"), sound("aiff"), sound("ogg", "-c:a", "libvorbis")
	mkv := read(t, video(t, "ballast.mkv", "-c:a", "aac", "-live", "1"))
	avi, asf := read(t, video(t, "ballast.avi", "-c:a", "aac")), read(t, video(t, "ballast.asf", "-c:a", "wmav2", "-c:v", "wmv2"))
	junk := make([]byte, size)
	cover := slices.Concat([]byte{6}, u32(size)[1:], junk)
	attached := element("\x61\xa7", slices.Concat(element("\x46\x6e", []byte("a.jpg")), element("\x46\x60", []byte("image/jpeg")),
		element("\x46\xae", []byte{1}), element("\x46\x5c", junk)))
	for _, tt := range []struct {
		name         string
		light, heavy []byte
	}{
		{"picture in the tag of an MP3", mp3, append(heavyID3(size), mp3...)},
		{"picture in the tag of an AAC", aac, append(heavyID3(size), aac...)},
		{"picture that hides what an AAC is", aac, append(heavyID3(10_000), aac...)},
		{"picture in the tag of a FLAC", flac, append(heavyID3(size), flac...)},
		{"picture in FLAC", flac, slices.Concat(flac[:4+4+34], cover, flac[4+4+34:])},
		{"tag in WAV", wav, insert(wav, false, "data", slices.Concat([]byte("id3 "), le.AppendUint32(nil, size), junk))},
		{"tag in AIFF", aiff, insert(aiff, false, "SSND", slices.Concat([]byte("ID3 "), be.AppendUint32(nil, size), junk))},
		{"attachment in Matroska", mkv, insert(mkv, false, "\x1f\x43\xb6\x75", element("\x19\x41\xa4\x69", attached))},
		{"picture of a video in Matroska", mkv, insert(mkv, false, "\x1f\x43\xb6\x75", element("\x1f\x43\xb6\x75",
			slices.Concat(element("\xe7", []byte{0}), element("\xa3", append([]byte("\x81\x00\x00\x80"), junk...)))))},
		{"picture of a video in AVI", avi, insert(avi, true, "movi", slices.Concat([]byte("00dc"), le.AppendUint32(nil, size), junk))},
		{"object in ASF", asf, heavyASF(asf, junk)},
		{"comment in Ogg", ogg, heavyOgg(ogg, junk)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, light, err := convert(t, e, storeBytes(t, tt.light), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, heavy, err := convert(t, e, storeBytes(t, tt.heavy), eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			want, _ := framesOf(t, light)
			got, _ := framesOf(t, heavy)
			if !slices.EqualFunc(want, got, bytes.Equal) {
				t.Errorf("Convert(%s): %d frames, want the %d that are made without it", tt.name, len(got), len(want))
			}
			if tt.name == "picture in the tag of an MP3" && probe(t, heavy).Format.Tags["title"] != "Title" {
				t.Errorf("Convert(%s): the title is lost", tt.name)
			}
			src := &source{File: storeBytes(t, tt.heavy), size: int64(len(tt.heavy))}
			container, err := sniff(src, tt.heavy[:media.SniffLen])
			if err != nil {
				t.Fatal(err)
			}
			var errs atomic.Int64
			fed, err := io.ReadAll(newUnladen(container, src, &errs))
			if err != nil || bytes.Equal(fed, tt.heavy) {
				t.Errorf("%s is fed as it is (%v)", tt.name, err)
			}
			fed, err = io.ReadAll(newUnladen(container, &source{File: storeBytes(t, tt.light), size: int64(len(tt.light))}, &errs))
			if err != nil || !bytes.Equal(fed, tt.light) || errs.Load() > 0 {
				t.Errorf("without %s, what is fed is not as it was (%v, %d errors)", tt.name, err, errs.Load())
			}
		})
	}
}

// heavyASF puts an object into the header.
func heavyASF(b, junk []byte) []byte {
	const header = 30
	object := slices.Concat([]byte("soundstrip test."), binary.LittleEndian.AppendUint64(nil, uint64(24+len(junk))), junk)
	b = slices.Concat(b[:header], object, b[header:])
	le := binary.LittleEndian
	le.PutUint64(b[16:], le.Uint64(b[16:])+uint64(len(object)))
	le.PutUint32(b[24:], le.Uint32(b[24:])+1)
	return b
}

// heavyOgg makes the comment of a Vorbis stream longer; its other headers lie in the same page.
func heavyOgg(b, junk []byte) []byte {
	const lacing = 27
	first := b[:oggPage(b)]
	second := b[len(first):][:oggPage(b[len(first):])]
	segments := second[lacing : lacing+int(second[lacing-1])]
	body := second[lacing+len(segments):]
	n := 0 // segments of the comment
	for n++; segments[n-1] == 255; n++ {
	}
	comment := 0
	for _, k := range segments[:n] {
		comment += int(k)
	}
	const count = 7 // bytes in front of the vendor's length
	vendor := int(binary.LittleEndian.Uint32(body[count:]))
	head := slices.Concat(body[:count+4+vendor], []byte{1, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, uint32(len(junk))))
	body = slices.Concat(head, junk, []byte{1}, body[comment:])
	size := len(head) + len(junk) + 1
	segments = slices.Concat(bytes.Repeat([]byte{255}, size/255), []byte{byte(size % 255)}, segments[n:])
	out := bytes.Clone(first)
	for number := 1; len(segments) > 0; number++ {
		k := min(255, len(segments))
		page := slices.Concat(second[:18], binary.LittleEndian.AppendUint32(nil, uint32(number)), []byte{0, 0, 0, 0, byte(k)}, segments[:k])
		page[5] = 0
		if number > 1 {
			page[5] = 1
		}
		length := 0
		for _, s := range segments[:k] {
			length += int(s)
		}
		page = append(page, body[:length]...)
		binary.LittleEndian.PutUint32(page[22:], oggCRC(page))
		out, body, segments = append(out, page...), body[length:], segments[k:]
	}
	return append(out, b[len(first)+len(second):]...)
}

// FuzzUnladen reads anything in pieces of any size: it is the same as in one, and no longer than the file.
func FuzzUnladen(f *testing.F) {
	f.Add("matroska", []byte("\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\x1f\x43\xb6\x75\x84\xa3\x82\x00\x00\x19\x41\xa4\x69\x08\xff\xff\xff\xff"))
	f.Add("avi", []byte("RIFF\x00\x01\x00\x00AVI LIST\x00\x01\x00\x00movi00dc\x00\x00\x00\x7f01wb\x02\x00\x00\x00ab\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add("wav", []byte("RIFF\x00\x01\x00\x00WAVEid3 \x00\x00\x00\x7fdata\x00\x00\x00\x00"))
	f.Add("flac", []byte("fLaC\x80\x00\x00\x22\x06\xff\xff\xff"))
	f.Add("asf", []byte("\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00soundstrip test.\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add("ogg", slices.Concat([]byte("OggS\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00abcd\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff"), make([]byte, 255)))
	f.Add("mp3", []byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x7f\x00\x00"))
	f.Fuzz(func(t *testing.T, container string, b []byte) {
		open := func() io.Reader {
			return newUnladen(container, &source{File: storeBytes(t, b), size: int64(len(b))}, new(atomic.Int64))
		}
		want, err := io.ReadAll(open())
		if err != nil || len(want) > len(b) {
			t.Fatalf("%s of %d bytes is fed as %d (%v)", container, len(b), len(want), err)
		}
		if got, err := io.ReadAll(iotest.OneByteReader(open())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is fed by bytes as %q, and at once as %q (%v)", container, got, want, err)
		}
	})
}
