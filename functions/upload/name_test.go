package upload

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCleanName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "video.mp4", "video.mp4"},
		{"spaces", "  my video.mp4 ", "my video.mp4"},
		{"folders", "/etc/passwd", "passwd"},
		{"parents", "../../video.mp4", "video.mp4"},
		{"Windows folders", `C:\Users\me\video.mp4`, "video.mp4"},
		{"nothing", "", "video"},
		{"a folder", "videos/", "video"},
		{"dots", "..", "video"},
		{"hidden", ".mp4", ".mp4"},
		{"line breaks", "a\r\nX-Evil: b.mp4", "aX-Evil: b.mp4"},
		{"NUL", "a\x00.mp4", "a.mp4"},
		{"C1 control", "a\u009b31m.mp4", "a31m.mp4"},
		{"reversed", "a\u202e4pm.exe", "a4pm.exe"},
		{"Latin 1", "\xdcbung.mp4", "\ufffdbung.mp4"},
		{"emoji", "🎬 x.mp4", "🎬 x.mp4"},
		{"long", strings.Repeat("a", 300) + ".mp4", strings.Repeat("a", 251) + ".mp4"},
		{"long and wide", strings.Repeat("ü", 300) + ".mp4", strings.Repeat("ü", 125) + ".mp4"},
		{"long extension", "a." + strings.Repeat("b", 300), "a." + strings.Repeat("b", 253)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := cleanName(tt.in); got != tt.want {
				t.Errorf("cleanName(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzCleanName(f *testing.F) {
	f.Add("C:\\a/b\x00\xff.mp4")
	f.Add(strings.Repeat("ü", 200))
	f.Fuzz(func(t *testing.T, in string) {
		got := cleanName(in)
		if got == "" || len(got) > maxName || !utf8.ValidString(got) || strings.ContainsAny(got, `/\`) ||
			strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("cleanName(%q) = %q", in, got)
		}
	})
}
