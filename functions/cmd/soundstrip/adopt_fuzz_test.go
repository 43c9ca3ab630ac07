package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// FuzzParseMails reads anything as mails: what is found in them stands there.
func FuzzParseMails(f *testing.F) {
	const fid = "a00000000000000000000003"
	const text = "Subject: x\r\n\r\nmp3 file_id: " + fid + " is now ready!\r\n"
	f.Add([]byte("To: georgio@email.com\r\n" + text))
	f.Add([]byte("From a Mon Jan\nTo: \"G, \\\"x\\\"\" <g@email.com>, b@email.com\n" + text +
		"\nFrom b\n\nFrom c\nTo: =?x?=\n\n"))
	f.Add([]byte("To: hidden:;\r\n" + text))
	found := regexp.MustCompile("file_id: [0-9a-f]{24} is")
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseMails(strings.NewReader(string(b)))
		if err != nil {
			t.Fatalf("parseMails(%q) = %v", b, err)
		}
		if most := len(found.FindAll(b, -1)); len(all) > most {
			t.Errorf("parseMails(%q) finds %d, want %d at most", b, len(all), most)
		}
		for _, l := range all {
			if !media.ValidID(l.fid) || !strings.Contains(string(b), l.fid) || !strings.Contains(l.email, "@") {
				t.Errorf("parseMails(%q) finds %+v", b, l)
			}
		}
	})
}
