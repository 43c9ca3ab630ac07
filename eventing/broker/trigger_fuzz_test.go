package broker

import (
	"testing"
	"time"
)

// FuzzParseTriggers reads any file: what is accepted of it can be served without waiting too long.
func FuzzParseTriggers(f *testing.F) {
	f.Add([]byte(`
triggers:
- name: convert
  filter:
    attributes: {type: dev.soundstrip.video.uploaded.v1}
    prefix: {source: /soundstrip/}
  subscriber: http://convert
  parallelism: 4
  queue: video
  delivery: {retry: 0, backoffPolicy: linear, backoffDelay: PT1.5S, timeout: PT10M, deadLetterSink: https://sink/dead}
`), 3)
	f.Add([]byte("triggers: [{name: a, legacy: true, delivery: {backoffDelay: 200ms}}]"), 100)
	f.Add([]byte("triggers: &a [{name: *a, subscriber: http://a, delivery: {timeout: PT9999999H}}]"), 1)
	f.Fuzz(func(t *testing.T, text []byte, attempts int) {
		ts, err := ParseTriggers(text)
		if err != nil {
			return
		}
		if err := ts.Validate(); err != nil {
			t.Fatalf("ParseTriggers gave what is not valid: %v", err)
		}
		for _, x := range ts {
			if found, err := ts.find(x.Name); err != nil || found.queue("p") != x.queue("p") {
				t.Errorf("find(%q) = %+v, %v", x.Name, found, err)
			}
			if got := x.Delivery.timeout(); got <= 0 || got > MaxTimeout {
				t.Errorf("timeout of %q is %v", x.Name, got)
			}
			if got := x.Delivery.backoff(max(1, attempts)); got <= 0 || got > MaxDelay {
				t.Errorf("backoff of %q after %d attempts is %v", x.Name, attempts, got)
			}
			if held := x.held(); held >= 30*time.Minute { // RabbitMQ's consumer_timeout
				t.Errorf("%q holds a message for %v", x.Name, held)
			}
			if n := x.parallelism(); n < 1 || n > maxParallelism {
				t.Errorf("parallelism of %q is %d", x.Name, n)
			}
		}
	})
}
