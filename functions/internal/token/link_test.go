package token

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

func TestLinks(t *testing.T) {
	t.Parallel()
	links := NewLinks(LinkConfig{Secret: strings.Repeat("s", 32)})
	const id, fid = "000000000000000000000001", "a00000000000000000000001"
	ends := time.Now().Add(time.Hour)
	good, err := url.ParseQuery(links.Sign(id, fid, ends))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := url.ParseQuery(links.Sign(id, fid, time.Now().Add(-time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	with := func(q url.Values, key, value string) url.Values {
		return url.Values{"expires": q["expires"], "signature": q["signature"], key: {value}}
	}
	for _, tt := range []struct {
		name    string
		links   Links
		id, fid string
		query   url.Values
		want    error
	}{
		{"good", links, id, fid, good, nil},
		{"ended", links, id, fid, ended, ErrLinkEnded},
		{"of another job", links, fid, fid, good, ErrLink},
		{"of another MP3", links, id, id, good, ErrLink},
		{"of no MP3", links, id, "", good, ErrLink},
		{"prolonged", links, id, fid, with(ended, "expires", good.Get("expires")), ErrLink},
		{"prolonged by a space", links, id, fid, with(good, "expires", good.Get("expires")+" "), ErrLink},
		{"changed", links, id, fid, with(good, "signature", good.Get("signature")[1:]+"A"), ErrLink},
		{"without a signature", links, id, fid, with(good, "signature", ""), ErrLink},
		{"without an end", links, id, fid, with(good, "expires", ""), ErrLink},
		{"empty", links, id, fid, nil, ErrLink},
		{"by another secret", NewLinks(LinkConfig{Secret: strings.Repeat("t", 32)}), id, fid, good, ErrLink},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.links.Verify(tt.id, tt.fid, tt.query); !errors.Is(err, tt.want) {
				t.Errorf("Verify(%s, %q, %v) = %v, want %v", tt.id, tt.fid, tt.query, err, tt.want)
			}
		})
	}
}

// TestLinkSignature pins the signature, so that links live through a new version.
func TestLinkSignature(t *testing.T) {
	t.Parallel()
	got := NewLinks(LinkConfig{Secret: strings.Repeat("s", 32)}).Sign("1", "2", time.Unix(1764410000, 0))
	// printf 'mp3\n1\n2\n1764410000' | openssl dgst -sha256 -hmac ssssssssssssssssssssssssssssssss -binary |
	//   basenc --base64url | tr -d =
	if want := "expires=1764410000&signature=adgz5LqvofALn7AyMPZx3dIjOcUpcIo_A_gtZ8Bjr6w"; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestLinkConfig(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{
		"": "LINK_SECRET: is not set", "short": "LINK_SECRET has 5 bytes", strings.Repeat("s", 32): "",
	} {
		var c LinkConfig
		err := serve.Load(t.Context(), envconfig.MapLookuper(map[string]string{"LINK_SECRET": secret}), &c)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) ||
			strings.Count(err.Error(), "LINK_SECRET") != 1) {
			t.Errorf("Load with LINK_SECRET=%q: %v, want one fault %q", secret, err, want)
		}
	}
}
