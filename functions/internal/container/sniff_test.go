package container_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/container"
)

// ffmpeg's own files, each by its muxer.
func TestSniffFFmpeg(t *testing.T) {
	t.Parallel()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not on the PATH")
	}
	tests := []struct {
		name string
		args string
		want string
	}{
		{"mp4", "-f mp4", "mov"},
		{"mp4, fast start", "-f mp4 -movflags +faststart", "mov"},
		{"mp4, fragmented", "-f mp4 -movflags +frag_keyframe+empty_moov", "mov"},
		{"mov", "-f mov", "mov"},
		{"3gp", "-f 3gp -c:a aac", "mov"},
		{"m4a", "-f ipod -vn", "mov"},
		{"matroska", "-f matroska", "matroska"},
		{"webm", "-f webm -vn -c:a libvorbis", "matroska"},
		{"avi", "-f avi", "avi"},
		{"mpegts", "-f mpegts", "mpegts"},
		{"m2ts", "-f mpegts -mpegts_m2ts_mode 1", "mpegts"},
		{"mpeg", "-f mpeg", "mpeg"},
		{"vob", "-f vob", "mpeg"},
		{"flv", "-f flv -c:v flv1 -ar 44100", "flv"},
		{"asf", "-f asf", "asf"},
		{"ogg", "-f ogg -vn -c:a flac", "ogg"},
		{"wav", "-f wav -vn", "wav"},
		{"rf64", "-f wav -vn -rf64 always", "wav"},
		{"w64", "-f w64 -vn", "w64"},
		{"mp3", "-f mp3 -vn", "mp3"},
		{"mp3, bare", "-f mp3 -vn -write_xing 0 -id3v2_version 0", "mp3"},
		{"mp3, 8 kHz", "-f mp3 -vn -write_xing 0 -id3v2_version 0 -ar 8000 -b:a 8k", "mp3"},
		{"mp3, 22.05 kHz", "-f mp3 -vn -write_xing 0 -id3v2_version 0 -ar 22050 -q:a 2", "mp3"},
		{"mp3, 320 kbit/s", "-f mp3 -vn -write_xing 0 -id3v2_version 0 -b:a 320k", "mp3"},
		{"aac", "-f adts -vn", "aac"},
		{"aac, tagged", "-f adts -vn -write_id3v2 1 -metadata title=x", "aac"},
		{"ac3", "-f ac3 -vn", "ac3"},
		{"eac3", "-f eac3 -vn", "eac3"},
		{"flac", "-f flac -vn", "flac"},
		{"aiff", "-f aiff -vn", "aiff"},
		{"aifc", "-f aiff -vn -c:a pcm_mulaw", "aiff"},
		{"caf", "-f caf -vn", "caf"},
		{"mp2", "-f mp2 -vn", "mp3"},
		{"png is not taken", "-an -f image2 -frames:v 1 -c:v png", ""},
		{"gif is not taken", "-an -f gif", ""},
		{"raw video is not taken", "-an -f mpeg1video", ""},
		{"playlist is not taken", "-f hls", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "sample")
			args := append(strings.Fields("-hide_banner -nostdin -v error -f lavfi -i testsrc=s=176x144:r=25:d=0.5 -f lavfi "+
				"-i sine=d=0.5"), strings.Fields(tt.args)...)
			if out, err := exec.CommandContext(t.Context(), ffmpeg, append(args, path)...).CombinedOutput(); err != nil {
				t.Skipf("this ffmpeg cannot make one: %s", out)
			}
			head, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := container.Sniff(head[:min(len(head), container.SniffLen)]); got != tt.want {
				t.Errorf("Sniff(%q) = %q, want %q", head[:min(len(head), 16)], got, tt.want)
			}
		})
	}
}

// mp3Frames makes n frames of 128 kbit/s at 44.1 kHz.
func mp3Frames(n int) string {
	return strings.Repeat("\xff\xfb\x90\x00"+strings.Repeat("\x00", 413), n)
}

// adtsFrames makes n frames of 100 bytes.
func adtsFrames(n int) string {
	return strings.Repeat("\xff\xf1\x50\x80\x0c\x9f\xfc"+strings.Repeat("\x00", 93), n)
}

// id3 makes a tag that is n bytes long.
func id3(n int) string {
	size := n - 10
	return "ID3\x04\x00\x00" + string([]byte{byte(size >> 21 & 0x7f), byte(size >> 14 & 0x7f), byte(size >> 7 & 0x7f),
		byte(size & 0x7f)}) + strings.Repeat("\x00", size)
}

func TestSniff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		head string
		want string
	}{
		{"nothing", "", ""},
		{"text", "Good morning, this is a text that begins with the sync byte of MPEG-TS.", ""},
		{"a short text", "G", ""},
		{"a GIF", "GIF89a" + strings.Repeat("\x00", 100), ""},
		{"a page", "<!DOCTYPE html><html>", ""},
		{"a playlist", "#EXTM3U\n#EXT-X-VERSION:3\n", ""},
		{"ffconcat", "ffconcat version 1.0\nfile /etc/passwd\n", ""},
		{"AMR", "#!AMR\n\x3c\x91\x17", "amr"},
		{"AMR-WB", "#!AMR-WB\n\x3c\x91\x17", "amr"},
		{"AU", ".snd\x00\x00\x00\x20", "au"},
		{"WavPack", "wvpk\x94\x59", "wv"},
		{"TTA", "TTA1\x01\x00", "tta"},
		{"MXF", "\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02\x04\x00", "mxf"},
		{"RealMedia", ".RMF\x00\x00\x00\x12", "rm"},
		{"DTS", "\x7f\xfe\x80\x01\xfc", "dts"},
		{"a JPEG", "\xff\xd8\xff\xe0\x00\x10JFIF", ""},
		{"UTF-16", "\xff\xfeh\x00e\x00l\x00l\x00o\x00", ""},
		{"ones", strings.Repeat("\xff", 4096), ""},
		{"zeros", strings.Repeat("\x00", 4096), ""},
		{"RIFF of something else", "RIFF\x00\x00\x00\x00WEBP", ""},
		{"3gp", "\x00\x00\x00\x18ftyp3gp4", "mov"},
		{"QuickTime without ftyp", "\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "mov"},
		{"EBML", "\x1aE\xdf\xa3\x9f\x42\x86\x81\x01", "matroska"},
		{"BW64", "BW64\xff\xff\xff\xffWAVEds64", "wav"},
		{"MPEG-TS of two packets", strings.Repeat("G"+strings.Repeat("\x00", 187), 2), ""},
		{"MPEG-TS of three", strings.Repeat("G"+strings.Repeat("\x00", 187), 3), "mpegts"},
		{"one MP3 frame", mp3Frames(1), ""},
		{"two MP3 frames", mp3Frames(2), "mp3"},
		{"MP3 behind junk", strings.Repeat("\xff", 300) + mp3Frames(2), "mp3"},
		{"MP3 behind much", strings.Repeat("\x00", 600) + mp3Frames(3), "mp3"},
		{"MP3 behind too much", strings.Repeat("\x00", 3000) + mp3Frames(2), ""},
		{"MP3 frames of two streams", mp3Frames(1) + "\xff\xfb\x94\x00", ""},
		{"MP3 that breaks off", mp3Frames(1) + "\xff\xfb", ""},
		{"MP3 behind a tag", id3(300) + mp3Frames(2), "mp3"},
		{"MP3 behind a large tag", id3(1 << 20)[:container.SniffLen], "mp3"},
		{"AAC behind a tag", id3(300) + adtsFrames(2), "aac"},
		{"FLAC behind a tag", id3(300) + "fLaC", "flac"},
		{"a tag that breaks off", "ID3\x04\x00", ""},
		{"AAC", adtsFrames(2), "aac"},
		{"AAC frames at the wrong place", adtsFrames(1) + "\x00" + adtsFrames(1), ""},
		{"AC-3", "\x0b\x77\x12\x34\x1e\x40\x2f\x84", "ac3"},
		{"E-AC-3", "\x0b\x77\x00\xff\x3f\x86\xff\xe9", "eac3"},
	}
	for _, tt := range tests {
		if got := container.Sniff([]byte(tt.head)); got != tt.want {
			t.Errorf("Sniff of %s = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzSniff(f *testing.F) {
	for _, seed := range []string{"", "\xff\xfb\x90\x00", mp3Frames(2), adtsFrames(2), id3(20) + id3(20) + mp3Frames(1),
		"\x00\x00\x00\x18ftyp", "\x0b\x77\x12\x34\x1e\x40"} {
		f.Add([]byte(seed))
	}
	// What ffmpeg may be asked for: its format_whitelist.
	const whitelist = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,wav,w64,mp3,aac,ac3,flac,aiff,caf,amr,au,dts,eac3," +
		"mxf,rm,tta,wv"
	f.Fuzz(func(t *testing.T, head []byte) {
		before := bytes.Clone(head)
		kind := container.Sniff(head)
		if kind != "" && !strings.Contains(","+whitelist+",", ","+kind+",") {
			t.Errorf("Sniff(%q) = %q, which ffmpeg is not allowed to read", head, kind)
		}
		if !bytes.Equal(before, head) {
			t.Errorf("Sniff changed %q", before)
		}
	})
}
