package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTriggers(t *testing.T) {
	t.Parallel()
	got, err := ParseTriggers([]byte(`
triggers:
- name: convert
  filter:
    attributes: {type: dev.soundstrip.video.uploaded.v1}
    prefix: {source: /soundstrip/}
    suffix: {subject: "1"}
  subscriber: http://convert
  parallelism: 4
  queue: video
  audience: converter
  delivery: {retry: 0, backoffPolicy: linear, backoffDelay: PT1.5S, timeout: PT10M, deadLetterSink: https://sink/dead}
- name: old
  legacy: true
  type: x
  delivery: {backoffDelay: 200ms, timeout: PT1M30S}
`))
	if err != nil {
		t.Fatalf("ParseTriggers() = %v", err)
	}
	want := Triggers{{
		Name: "convert",
		Filter: Filter{map[string]string{"type": "dev.soundstrip.video.uploaded.v1"},
			map[string]string{"source": "/soundstrip/"}, map[string]string{"subject": "1"}},
		Subscriber:  "http://convert",
		Parallelism: 4,
		Queue:       "video",
		Audience:    "converter",
		Delivery: Delivery{Retry: new(int), BackoffPolicy: "linear", BackoffDelay: Duration(1500 * time.Millisecond),
			Timeout: Duration(10 * time.Minute), DeadLetterSink: "https://sink/dead"},
	}, {
		Name: "old", Legacy: true, Type: "x",
		Delivery: Delivery{BackoffDelay: Duration(200 * time.Millisecond), Timeout: Duration(90 * time.Second)},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseTriggers() (-want +got):\n%s", diff)
	}
}

func TestParseTriggersFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string // parts of the error
	}{
		{"nothing", "", []string{"there are no triggers"}},
		{"no YAML", "triggers: [", []string{"parse triggers"}},
		{"unknown field", "triggers: [{name: a, subscriber: http://a, retries: 3}]", []string{"retries"}},
		{"field twice", "triggers: [{name: a, name: b, subscriber: http://a}]", []string{"name"}},
		{"no duration", "triggers: [{name: a, subscriber: http://a, delivery: {timeout: P1M}}]",
			[]string{`duration "P1M"`, "PT1M30S"}},
		{"all at once", `
triggers:
- {name: A b}
- {name: a, subscriber: "ftp://x", parallelism: -1, queue: q}
- {name: a, subscriber: "http://x", parallelism: 1000, queue: q}
- {name: b, subscriber: "http://x", filter: {attributes: {Type: x}, prefix: {type: ""}}}
- name: c
  subscriber: http://x
  delivery: {retry: -1, backoffPolicy: random, backoffDelay: PT1H, timeout: PT30M, deadLetterSink: nowhere}
`, []string{
			`trigger A b: name="A b"`, "trigger A b: subscriber is missing",
			`trigger a: subscriber="ftp://x"`, "trigger a: parallelism=-1", "trigger a: name is taken",
			"trigger a: queue=q is another", "trigger a: parallelism=1000",
			`trigger b: filter: Type="x"`, `trigger b: filter: type=""`,
			"trigger c: delivery.retry=-1", `trigger c: delivery.backoffPolicy="random"`, "trigger c: delivery.backoffDelay=1h",
			"trigger c: delivery.timeout=30m", `trigger c: delivery.deadLetterSink="nowhere"`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseTriggers([]byte(tt.text))
			if err == nil {
				t.Fatalf("ParseTriggers(%q) = nil, want an error", tt.text)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("ParseTriggers(%q) = %v, want it to say %q", tt.text, err, part)
				}
			}
		})
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	e := newEvent(t, "1", "a.b.c")
	e.SetExtension("level", 7)
	tests := []struct {
		name   string
		filter Filter
		want   bool
	}{
		{"nothing asked", Filter{}, true},
		{"type", Filter{Attributes: map[string]string{"type": "a.b.c"}}, true},
		{"another type", Filter{Attributes: map[string]string{"type": "a.b"}}, false},
		{"all of several", Filter{Attributes: map[string]string{"type": "a.b.c", "source": "/test"}}, true},
		{"one of several", Filter{Attributes: map[string]string{"type": "a.b.c", "source": "/x"}}, false},
		{"time in its canonical form", Filter{Attributes: map[string]string{"time": "2026-01-02T03:04:05Z"}}, true},
		{"extension", Filter{Attributes: map[string]string{"level": "7"}}, true},
		{"extension that is not there", Filter{Attributes: map[string]string{"depth": "7"}}, false},
		{"attribute that is not there", Filter{Prefix: map[string]string{"dataschema": "x"}}, false},
		{"prefix", Filter{Prefix: map[string]string{"type": "a."}}, true},
		{"no prefix", Filter{Prefix: map[string]string{"type": "b."}}, false},
		{"suffix", Filter{Suffix: map[string]string{"type": ".c"}}, true},
		{"no suffix", Filter{Suffix: map[string]string{"type": ".b"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := (Trigger{Filter: tt.filter}).Matches(e); got != tt.want {
				t.Errorf("Matches() of %v = %v, want %v", tt.filter, got, tt.want)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		delivery Delivery
		attempts int
		want     time.Duration // at most, and more than four fifths of it
	}{
		{"default", Delivery{}, 1, 2 * time.Second},
		{"exponential", Delivery{BackoffDelay: Duration(3 * time.Second)}, 3, 24 * time.Second},
		{"linear", Delivery{BackoffPolicy: "linear", BackoffDelay: Duration(3 * time.Second)}, 3, 9 * time.Second},
		{"bounded", Delivery{}, 15, MaxDelay},
		{"bounded without end", Delivery{BackoffDelay: Duration(MaxDelay)}, 1 << 30, MaxDelay},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.delivery.backoff(tt.attempts); got > tt.want || got < tt.want*4/5 {
				t.Errorf("backoff(%d) = %v, want %v to %v", tt.attempts, got, tt.want*4/5, tt.want)
			}
		})
	}
}
