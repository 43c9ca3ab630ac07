package upload

import (
	"path"
	"strings"
	"unicode"
)

// maxName is the length of a video's name, in bytes; most file systems have the same.
const maxName = 255

// cleanName makes a name that can be shown, and kept in headers and file systems, of what a client calls its file. It
// drops folders (before / or \), control characters, characters that change the direction of writing, and invalid
// UTF-8.
func cleanName(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s))
	if strings.Trim(s, ".") == "" {
		return "video"
	}
	if len(s) > maxName {
		extension := path.Ext(s)
		if len(extension) > 16 {
			extension = ""
		}
		s = strings.ToValidUTF8(s[:maxName-len(extension)], "") + extension // a rune may have been cut
	}
	return s
}
