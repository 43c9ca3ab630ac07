package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// MaxLink is how long a link may be valid.
const MaxLink = 30 * 24 * time.Hour

// What is wrong with a link.
var (
	ErrLink      = errors.New("the link's signature is not that of its MP3 and its end")
	ErrLinkEnded = errors.New("the link has ended")
)

// LinkConfig says what links are signed with.
type LinkConfig struct {
	Secret string `env:"LINK_SECRET, required"` // at least 32 bytes
}

// Validate reports a secret that is too weak.
func (c LinkConfig) Validate() error {
	if len(c.Secret) < minSecret {
		return fmt.Errorf("LINK_SECRET has %d bytes, %d are needed: make one by: openssl rand -hex 32",
			len(c.Secret), minSecret)
	}
	return nil
}

// Links signs and checks addresses by which whoever has one gets one MP3, until it ends. It is safe for concurrent use.
type Links struct{ key []byte }

// NewLinks uses the secret of a valid configuration.
func NewLinks(c LinkConfig) Links { return Links{key: []byte(c.Secret)} }

// Sign gives the query of a link to the job's MP3: when it ends, in seconds since 1970, and an HMAC-SHA256 (RFC 2104)
// over that and the ids of both. So it is of no use for an MP3 that the job has later.
func (l Links) Sign(id, fid string, ends time.Time) string {
	at := strconv.FormatInt(ends.Unix(), 10)
	return url.Values{"expires": {at}, "signature": {l.signature(id, fid, at)}}.Encode()
}

func (l Links) signature(id, fid, at string) string {
	mac := hmac.New(sha256.New, l.key)
	_, _ = mac.Write([]byte("mp3\n" + id + "\n" + fid + "\n" + at)) // ids have no line breaks
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Verify checks the query of a link: ErrLink, or ErrLinkEnded for one that was valid.
func (l Links) Verify(id, fid string, query url.Values) error {
	at := query.Get("expires")
	if !hmac.Equal([]byte(query.Get("signature")), []byte(l.signature(id, fid, at))) {
		return ErrLink
	}
	if ends, err := strconv.ParseInt(at, 10, 64); err != nil {
		return ErrLink
	} else if !time.Now().Before(time.Unix(ends, 0)) {
		return ErrLinkEnded
	}
	return nil
}
