package eventing_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query string
		want  eventing.Options
		errs  []string // each in the error; none when empty
	}{
		{query: ""},
		{query: "bitrate=192", want: eventing.Options{Bitrate: 192}},
		{query: "bitrate=192k", want: eventing.Options{Bitrate: 192}},
		{query: "quality=0", want: eventing.Options{Quality: new(0)}},
		{query: "quality=9", want: eventing.Options{Quality: new(9)}},
		{query: "start=90.5&end=2:00", want: eventing.Options{Start: 90.5, End: 120}},
		{query: "start=1:30.5&end=1:02:03", want: eventing.Options{Start: 90.5, End: 3723}},
		{query: "end=90:00", want: eventing.Options{End: 5400}},
		{query: "mono=true&normalize=1", want: eventing.Options{Mono: true, Normalize: true}},
		{query: "track=2&partial=true", want: eventing.Options{Track: "2", Partial: true}},
		{query: "track=pt-BR", want: eventing.Options{Track: "pt-BR"}},
		{query: "track=", want: eventing.Options{}},
		{query: "mono=false", want: eventing.Options{}},
		{query: "title=A%20B&artist=C&album=%C3%9C", want: eventing.Options{Title: "A B", Artist: "C", Album: "Ü"}},
		{query: "quality=1&quality=4", want: eventing.Options{Quality: new(4)}},

		{query: "bitrate=0", errs: []string{`bitrate="0"`, "320"}},
		{query: "bitrate=100", errs: []string{"bitrate=100", "32 40 48"}},
		{query: "bitrate=-32", errs: []string{"bitrate=-32"}},
		{query: "bitrate=fast", errs: []string{`bitrate="fast"`}},
		{query: "bitrate=99999999999999999999", errs: []string{"bitrate"}},
		{query: "quality=10", errs: []string{"quality=10", "0 (best) to 9"}},
		{query: "quality=-1", errs: []string{"quality=-1"}},
		{query: "quality=", errs: []string{`quality=""`}},
		{query: "bitrate=128&quality=2", errs: []string{"exclude each other"}},
		{query: "start=-1", errs: []string{`start="-1"`}},
		{query: "start=1:60", errs: []string{`start="1:60"`}},
		{query: "start=1.5:00", errs: []string{`start="1.5:00"`}},
		{query: "start=1:2:3:4", errs: []string{"start"}},
		{query: "start=NaN", errs: []string{"start"}},
		{query: "start=Inf", errs: []string{"start"}},
		{query: "start=1e9", errs: []string{"start"}},
		{query: "start=:", errs: []string{"start"}},
		{query: "start=10&end=10", errs: []string{"end=10", "after start=10"}},
		{query: "start=10&end=5", errs: []string{"end=5"}},
		{query: "mono=perhaps", errs: []string{`mono="perhaps"`, "true or false"}},
		{query: "track=0", errs: []string{`track="0"`, "(de)"}},
		{query: "track=the+second", errs: []string{`track="the second"`}},
		{query: "partial=some", errs: []string{`partial="some"`, "true or false"}},
		{query: "title=" + strings.Repeat("x", 1025), errs: []string{"title", "1024 bytes"}},
		{query: "speed=2",
			errs: []string{`unknown option "speed"`, "bitrate, quality, start, end, mono, normalize, track, partial, " +
				"title, artist, album"}},
		{query: "speed=2&mono=perhaps&bitrate=fast&start=x", errs: []string{"speed", "mono", "bitrate", "start"}},
	} {
		v, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		o, err := eventing.ParseOptions(v)
		if (err != nil) != (tt.errs != nil) {
			t.Errorf("ParseOptions(%q) = %v, want %q", tt.query, err, tt.errs)
			continue
		}
		for _, want := range tt.errs {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("ParseOptions(%q) = %q, want %q in it", tt.query, err, want)
			}
		}
		if err == nil && !cmp.Equal(o, tt.want) {
			t.Errorf("ParseOptions(%q) (-want +got):\n%s", tt.query, cmp.Diff(tt.want, o))
		}
	}
}

// TestParseOptionsBesideOthers: what the caller reads is an option, and not one of the conversion.
func TestParseOptionsBesideOthers(t *testing.T) {
	t.Parallel()
	v := url.Values{"mono": {"true"}, "webhook": {"x"}}
	if o, err := eventing.ParseOptions(v, "webhook"); err != nil || o != (eventing.Options{Mono: true}) {
		t.Errorf("ParseOptions beside webhook = %+v, %v", o, err)
	}
	if _, err := eventing.ParseOptions(v); err == nil || !strings.Contains(err.Error(), `unknown option "webhook"`) {
		t.Errorf("ParseOptions = %v, want the webhook unknown", err)
	}
	v.Set("speed", "2")
	if _, err := eventing.ParseOptions(v, "webhook"); err == nil || !strings.HasSuffix(err.Error(), "album, webhook") {
		t.Errorf("ParseOptions = %v, want webhook among the options", err)
	}
}

func TestOptionsLength(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ start, end, of, want float64 }{
		{0, 0, 60, 60}, {10, 0, 60, 50}, {10, 30, 60, 20}, {10, 90, 60, 50}, {70, 0, 60, 0}, {70, 90, 60, 0},
	} {
		o := eventing.Options{Start: tt.start, End: tt.end}
		if got := o.Length(time.Duration(tt.of * float64(time.Second))); got.Seconds() != tt.want {
			t.Errorf("Length(start %v, end %v of %v) = %v, want %v", tt.start, tt.end, tt.of, got.Seconds(), tt.want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("bitrate=192k&start=1:02:03.5&mono=1&title=x")
	f.Add("quality=2&end=90.5&normalize=true&artist=a&album=b")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		o, err := eventing.ParseOptions(v)
		if err != nil {
			return
		}
		if err := o.Validate(); err != nil {
			t.Errorf("ParseOptions(%q) = %+v, which does not validate: %v", query, o, err)
		}
		if o.Start < 0 || o.End < 0 || o.Length(time.Hour) < 0 || o.Length(time.Hour) > time.Hour {
			t.Errorf("ParseOptions(%q) = %+v", query, o)
		}
		if _, err := json.Marshal(o); err != nil {
			t.Errorf("ParseOptions(%q) = %+v, which is no JSON: %v", query, o, err)
		}
	})
}
