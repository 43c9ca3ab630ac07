package engine

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/container"
)

// heavyID3 makes a tag of version 2.4 with a title and a picture of so many bytes.
func heavyID3(picture int) []byte {
	syncsafe := func(n int) []byte {
		return []byte{byte(n >> 21 & 0x7f), byte(n >> 14 & 0x7f), byte(n >> 7 & 0x7f), byte(n & 0x7f)}
	}
	frame := func(id string, body []byte) []byte {
		return slices.Concat([]byte(id), syncsafe(len(body)), []byte{0, 0}, body)
	}
	frames := slices.Concat(frame("APIC", append([]byte("\x00image/jpeg\x00\x03\x00"), make([]byte, picture)...)),
		frame("TIT2", []byte("\x03Title")))
	return slices.Concat([]byte("ID3\x04\x00\x00"), syncsafe(len(frames)), frames)
}

// element makes one of Matroska.
func element(id string, body []byte) []byte {
	return slices.Concat([]byte(id), binary.BigEndian.AppendUint64(nil, 1<<56|uint64(len(body))), body)
}

// insert puts bytes in front of, or behind, the first bytes of a kind.
func insert(b []byte, behind bool, mark string, inserted []byte) []byte {
	at := bytes.Index(b, []byte(mark))
	if behind {
		at += len(mark)
	}
	return slices.Concat(b[:at], inserted, b[at:])
}

// TestConvertLargeMetadata converts files with too much beside their sound: it becomes the same as without.
func TestConvertLargeMetadata(t *testing.T) {
	t.Parallel()
	const size = 9 << 20 // a file may have 8 MiB
	e := newEngine(t, testConfig)
	be, le := binary.BigEndian, binary.LittleEndian
	sound := func(name string, args ...string) []byte {
		return read(t, makeFile(t, "metadata."+name, append([]string{"-f", "lavfi", "-i", tone}, args...)...))
	}
	mp3, aac, flac := sound("mp3", "-c:a", "libmp3lame", "-id3v2_version", "0"), sound("aac", "-c:a", "aac"), sound("flac")
	wav, aiff, ogg := sound("wav"), sound("aiff"), sound("ogg", "-c:a", "libvorbis")
	mkv := read(t, video(t, "metadata.mkv", "-c:a", "aac", "-live", "1"))
	avi, asf := read(t, video(t, "metadata.avi", "-c:a", "aac")), read(t, video(t, "metadata.asf", "-c:a", "wmav2",
		"-c:v", "wmv2"))
	junk := make([]byte, size)
	cover := slices.Concat([]byte{6}, u32(size)[1:], junk)
	attached := element("\x61\xa7", slices.Concat(element("\x46\x6e", []byte("a.jpg")), element("\x46\x60",
		[]byte("image/jpeg")),
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
		{"picture of a video in AVI", avi, insert(avi, true, "movi", slices.Concat([]byte("00dc"), le.AppendUint32(nil,
			size), junk))},
		{"object in ASF", asf, heavyASF(asf, junk)},
		{"comment in Ogg", ogg, heavyOgg(ogg, junk)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, light, err := convert(t, e, tt.light, eventing.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, heavy, err := convert(t, e, tt.heavy, eventing.Options{})
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
			if fed := soundOf(t, tt.heavy); bytes.Equal(fed, tt.heavy) {
				t.Errorf("%s is fed as it is", tt.name)
			}
			fed := soundOf(t, tt.light)
			if at := bytes.LastIndex(tt.light, []byte("strf")); strings.HasSuffix(tt.name, "AVI") && len(fed) > at {
				const block = 8 + 12 // of AAC its size is hidden
				copy(fed[at+block:at+block+2], tt.light[at+block:])
			}
			if !bytes.Equal(fed, tt.light) {
				t.Errorf("without %s, what is fed is not as it was", tt.name)
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
	page := func(b []byte) []byte {
		n := lacing + int(b[lacing-1])
		for _, k := range b[lacing:n] {
			n += int(k)
		}
		return b[:n]
	}
	first := page(b)
	second := page(b[len(first):])
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
	head := slices.Concat(body[:count+4+vendor], []byte{1, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil,
		uint32(len(junk))))
	body = slices.Concat(head, junk, []byte{1}, body[comment:])
	size := len(head) + len(junk) + 1
	segments = slices.Concat(bytes.Repeat([]byte{255}, size/255), []byte{byte(size % 255)}, segments[n:])
	out := bytes.Clone(first)
	for number := 1; len(segments) > 0; number++ {
		k := min(255, len(segments))
		page := slices.Concat(second[:18], binary.LittleEndian.AppendUint32(nil, uint32(number)), []byte{0, 0, 0, 0,
			byte(k)}, segments[:k])
		page[5] = 0
		if number > 1 {
			page[5] = 1
		}
		length := 0
		for _, s := range segments[:k] {
			length += int(s)
		}
		page = append(page, body[:length]...)
		binary.LittleEndian.PutUint32(page[22:], oggSum(page))
		out, body, segments = append(out, page...), body[length:], segments[k:]
	}
	return append(out, b[len(first)+len(second):]...)
}

// oggSum is the checksum of a page (RFC 3533, section 6): polynomial 0x04c11db7, begun with zero.
func oggSum(page []byte) (sum uint32) {
	for _, b := range page {
		sum ^= uint32(b) << 24
		for range 8 {
			sum = sum<<1 ^ 0x04c11db7*(sum>>31)
		}
	}
	return sum
}

// soundOf is what ffmpeg is fed of a file.
func soundOf(t *testing.T, b []byte) []byte {
	t.Helper()
	file, err := container.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var errs atomic.Int64
	r, err := file.Sound(&errs)
	if err != nil {
		t.Fatal(err)
	}
	fed, err := io.ReadAll(r)
	if err != nil || errs.Load() > 0 {
		t.Errorf("reading a %s: %v, %d errors", file.Format, err, errs.Load())
	}
	return fed
}
