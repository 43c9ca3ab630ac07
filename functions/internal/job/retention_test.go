package job_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

func TestRetentionParse(t *testing.T) {
	t.Parallel()
	const day = 24 * 60 * 60
	days := func(n int) job.Period { return job.Period(n) * job.Period(24*time.Hour) }
	for _, tt := range []struct {
		name       string
		video, mp3 job.Period
		expires    string
		want       job.Retention
		err        string
	}{
		{"nothing is set", 0, 0, "-", job.Retention{}, ""},
		{"the configuration", days(1), days(30), "-", job.Retention{Video: day, MP3: 30 * day}, ""},
		{"shorter", days(1), days(30), "7d", job.Retention{Video: day, MP3: 7 * day}, ""},
		{"shorter than the video's", days(1), days(30), "90m", job.Retention{Video: 90 * 60, MP3: 90 * 60}, ""},
		{"where files are kept", 0, 0, "12h", job.Retention{Video: day / 2, MP3: day / 2}, ""},
		{"as long as may be", days(1), days(30), "30d", job.Retention{Video: day, MP3: 30 * day}, ""},
		{"longer", days(1), days(30), "31d", job.Retention{}, "to 30d"},
		{"for ever", days(1), 0, "4000d", job.Retention{}, "to 3650d"},
		{"too long to count", days(1), 0, "9999999d", job.Retention{}, "expires="},
		{"none", days(1), days(30), "0", job.Retention{}, "from 1s"},
		{"empty", days(1), days(30), "", job.Retention{}, "expires="},
		{"no time", days(1), days(30), "soon", job.Retention{}, "90m, 12h or 7d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := url.Values{}
			if tt.expires != "-" {
				v.Set("expires", tt.expires)
			}
			got, err := job.RetentionConfig{Video: tt.video, MP3: tt.mp3}.Parse(v)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Parse(%v) = %v, want an error with %q", v, err, tt.err)
				}
				return
			}
			if got != tt.want || err != nil {
				t.Errorf("Parse(%v) = %+v, %v, want %+v", v, got, err, tt.want)
			}
		})
	}
}

func TestRetentionConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		c   job.RetentionConfig
		err string
	}{
		{job.RetentionConfig{}, ""},
		{job.RetentionConfig{Video: job.Period(time.Hour), MP3: -1}, "RETENTION_MP3"},
		{job.RetentionConfig{Video: 1}, "RETENTION_VIDEO"},
	} {
		if err := tt.c.Validate(); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v.Validate() = %v, want %q", tt.c, err, tt.err)
		}
	}
}
