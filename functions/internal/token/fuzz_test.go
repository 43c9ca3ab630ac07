package token

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzLinks tries any link: only the one that was signed is good, for its MP3.
func FuzzLinks(f *testing.F) {
	links := NewLinks(LinkConfig{Secret: strings.Repeat("s", 32)})
	const id, fid = "000000000000000000000001", "a00000000000000000000001"
	ends := time.Now().Add(MaxLink)
	good, err := url.ParseQuery(links.Sign(id, fid, ends))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id, fid, good.Get("expires"), good.Get("signature"))
	f.Add(fid, id, "+"+good.Get("expires"), good.Get("signature"))
	f.Add(id, "", fid+"\n1", "")
	f.Fuzz(func(t *testing.T, of, mp3, expires, signature string) {
		if strings.ContainsAny(of+mp3, "\n") {
			return // no id
		}
		err := links.Verify(of, mp3, url.Values{"expires": {expires}, "signature": {signature}})
		right := of == id && mp3 == fid && expires == good.Get("expires") && signature == good.Get("signature")
		if (err == nil) != right || err != nil && !errors.Is(err, ErrLink) {
			t.Errorf("Verify(%q, %q, %q, %q) = %v", of, mp3, expires, signature, err)
		}
	})
}

// FuzzVerifyLegacy tries any token where those of the old system are good.
func FuzzVerifyLegacy(f *testing.F) {
	v := newTestVerifier(f, VerifierConfig{Secret: "short", Legacy: true})
	f.Add("e30.e30.e30")
	f.Add("eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6ImEiLCJleHAiOjk5OTk5OTk5OTl9.")
	f.Add("eyJhbGciOiJIUzI1NiJ9.eyJ1c2VybmFtZSI6ImEiLCJleHAiOjk5OTk5OTk5OTl9.AAAA")
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := v.Verify(t.Context(), raw); err == nil {
			t.Errorf("Verify(%q) = %+v", raw, c)
		}
	})
}
