package notify

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// Config is what every channel needs.
type Config struct {
	PublicURL string `env:"PUBLIC_URL, required"` // of the gateway: what links in messages begin with
	Link      token.LinkConfig
}

// Validate reports every fault by variable name.
func (c Config) Validate() error {
	if !isURL(c.PublicURL) || strings.ContainsAny(c.PublicURL, "?#") {
		return errors.New("PUBLIC_URL: want the address of the gateway, such as https://soundstrip.example.com")
	}
	return nil
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != ""
}

// links are absolute.
func (c Config) links(j job.Job) Links {
	home := strings.TrimRight(c.PublicURL, "/")
	l := Links{Home: home + "/", Job: home + j.Links().Self}
	if j.MP3 != nil {
		l.MP3 = home + j.Links().MP3
		l.Ends = time.Now().UTC().Add(token.MaxLink).Truncate(time.Minute)
		if j.Expires != nil && j.Expires.Before(l.Ends) {
			l.Ends = *j.Expires
		}
		l.Open = l.MP3 + "?" + token.NewLinks(c.Link).Sign(j.ID, j.MP3.FID, l.Ends)
		l.Download = home + "/download?" + url.Values{"fid": {j.MP3.FID}}.Encode()
	}
	return l
}
