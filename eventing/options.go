package eventing

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultQuality is LAME's VBR quality when neither bitrate nor quality is asked for.
const DefaultQuality = 2

// bitrates are those of MPEG-1 Layer III, in kbit/s (ISO/IEC 11172-3, table 2.4.2.3).
var bitrates = []int{32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}

// Options say what MP3 is to be made of a video. The zero value asks for all of it, in stereo, at VBR [DefaultQuality].
type Options struct {
	Bitrate   int     `json:"bitrate,omitempty" bson:"bitrate,omitempty"`     // constant, in kbit/s; 0 means VBR
	Quality   *int    `json:"quality,omitempty" bson:"quality,omitempty"`     // VBR, 0 (best) to 9
	Start     float64 `json:"start,omitempty" bson:"start,omitempty"`         // seconds into the video
	End       float64 `json:"end,omitempty" bson:"end,omitempty"`             // seconds into the video; 0 means its end
	Mono      bool    `json:"mono,omitempty" bson:"mono,omitempty"`           // mix down to one channel
	Normalize bool    `json:"normalize,omitempty" bson:"normalize,omitempty"` // bring to one loudness (EBU R 128)
	Track     string  `json:"track,omitempty" bson:"track,omitempty"`         // of the sound: number or language
	Partial   bool    `json:"partial,omitempty" bson:"partial,omitempty"`     // take what is there of a video
	Title     string  `json:"title,omitempty" bson:"title,omitempty"`
	Artist    string  `json:"artist,omitempty" bson:"artist,omitempty"`
	Album     string  `json:"album,omitempty" bson:"album,omitempty"`
}

// lazily gives a regular expression that is compiled when it is first used, and not at every start.
func lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// track is a number, or a language as RFC 5646 and ISO 639 name it.
var track = lazily(`^([1-9]\d?|[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*)$`)

const wantTrack = "want the number of a track of sound, from 1, or its language (de)"

// maxTag is the length, in bytes, that a title, artist or album may have.
const maxTag = 1024

// optionNames are the names that [ParseOptions] knows, in the order in which an error lists them.
var optionNames = []string{"bitrate", "quality", "start", "end", "mono", "normalize", "track", "partial",
	"title", "artist", "album"}

// ParseOptions reads options from form fields or a query. Its error lists every unknown name and bad value, with what
// is valid instead. Times are seconds (90.5) or clock times (1:30.5, 1:02:03). Others are names that the caller reads.
func ParseOptions(v url.Values, others ...string) (Options, error) {
	var o Options
	var errs []error
	bad := func(name, value, valid string) {
		errs = append(errs, fmt.Errorf("%s=%q: %s", name, value, valid))
	}
	for name, values := range v {
		value := values[len(values)-1]
		var err error
		switch name {
		case "bitrate":
			if o.Bitrate, err = strconv.Atoi(strings.TrimSuffix(value, "k")); err != nil || o.Bitrate == 0 {
				bad(name, value, "want a constant bitrate in kbit/s, one of "+fmt.Sprint(bitrates))
				o.Bitrate = 0
			}
		case "quality":
			q, err := strconv.Atoi(value)
			if err != nil {
				bad(name, value, "want a VBR quality from 0 (best) to 9")
				break
			}
			o.Quality = &q
		case "start", "end":
			t, ok := parseTime(value)
			if !ok {
				bad(name, value, "want seconds (90.5) or a clock time (1:30.5)")
			} else if name == "start" {
				o.Start = t
			} else {
				o.End = t
			}
		case "mono":
			if o.Mono, err = strconv.ParseBool(value); err != nil {
				bad(name, value, "want true or false")
			}
		case "normalize":
			if o.Normalize, err = strconv.ParseBool(value); err != nil {
				bad(name, value, "want true or false")
			}
		case "track":
			// A form sends its empty fields, too.
			if o.Track = value; value != "" && !track().MatchString(value) {
				bad(name, value, wantTrack)
			}
		case "partial":
			if o.Partial, err = strconv.ParseBool(value); err != nil {
				bad(name, value, "want true or false")
			}
		case "title":
			o.Title = value
		case "artist":
			o.Artist = value
		case "album":
			o.Album = value
		default:
			if !slices.Contains(others, name) {
				errs = append(errs, fmt.Errorf("unknown option %q: the options are %s", name,
					strings.Join(slices.Concat(optionNames, others), ", ")))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if len(errs) > 0 {
		return Options{}, errors.Join(errs...)
	}
	return o, o.Validate()
}

// parseTime reads seconds or [[h:]m:]s[.fraction].
func parseTime(s string) (float64, bool) {
	if s == "" {
		return 0, false
	}
	total := 0.0
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	for i, p := range parts {
		f, err := strconv.ParseFloat(p, 64)
		if err != nil || f < 0 || i > 0 && f >= 60 || i < len(parts)-1 && f != math.Trunc(f) {
			return 0, false
		}
		total = total*60 + f
	}
	return total, total <= maxTime
}

// maxTime bounds start and end, in seconds.
const maxTime = 1000 * 60 * 60

// Validate reports every option out of its range.
func (o Options) Validate() error {
	var errs []error
	if o.Bitrate != 0 && !slices.Contains(bitrates, o.Bitrate) {
		errs = append(errs, fmt.Errorf("bitrate=%d: want a constant bitrate in kbit/s, one of %v", o.Bitrate, bitrates))
	}
	if o.Quality != nil && (*o.Quality < 0 || *o.Quality > 9) {
		errs = append(errs, fmt.Errorf("quality=%d: want a VBR quality from 0 (best) to 9", *o.Quality))
	}
	if o.Bitrate != 0 && o.Quality != nil {
		errs = append(errs, errors.New("bitrate and quality exclude each other: give bitrate for CBR or quality for VBR"))
	}
	if o.Track != "" && !track().MatchString(o.Track) {
		errs = append(errs, fmt.Errorf("track=%q: %s", o.Track, wantTrack))
	}
	for name, t := range map[string]float64{"start": o.Start, "end": o.End} {
		if math.IsNaN(t) || t < 0 || t > maxTime {
			errs = append(errs, fmt.Errorf("%s=%v: want seconds from 0 to %d", name, t, maxTime))
		}
	}
	if o.End != 0 && o.End <= o.Start {
		errs = append(errs, fmt.Errorf("end=%v: want a time after start=%v", o.End, o.Start))
	}
	for name, s := range map[string]string{"title": o.Title, "artist": o.Artist, "album": o.Album} {
		if len(s) > maxTag {
			errs = append(errs, fmt.Errorf("%s: want at most %d bytes", name, maxTag))
		}
	}
	return errors.Join(errs...)
}

// Span is from when to when the options keep the video. An end of 0 means the end of the video.
func (o Options) Span() (start, end time.Duration) {
	return time.Duration(o.Start * float64(time.Second)), time.Duration(o.End * float64(time.Second))
}

// Length is how much of a video of the given duration the options keep.
func (o Options) Length(d time.Duration) time.Duration {
	start, end := o.Span()
	if o.End == 0 {
		end = d
	}
	return max(0, min(end, d)-start)
}
