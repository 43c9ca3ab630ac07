package broker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	amqp "github.com/rabbitmq/amqp091-go"
	"sigs.k8s.io/yaml"
)

// Trigger says which events a subscriber gets, and how. Its fields and their meaning are those of Knative's Trigger
// where it has them.
type Trigger struct {
	Name        string   `json:"name"`
	Filter      Filter   `json:"filter"`
	Subscriber  string   `json:"subscriber"`  // URL; empty only for a legacy trigger whose queue an old program reads
	Parallelism int      `json:"parallelism"` // posts at a time; 0 means 1
	Delivery    Delivery `json:"delivery"`
	Queue       string   `json:"queue"`     // in RabbitMQ; empty means soundstrip.NAME
	QueueType   string   `json:"queueType"` // quorum, which is the default, or classic, as old programs declare theirs
	Audience    string   `json:"audience"`  // whom the posts are signed for; empty means the name
	Type        string   `json:"type"`      // of messages without CloudEvent headers; empty means that of the filter
	Legacy      bool     `json:"legacy"`    // its queue is written the JSON of the old system
}

// Filter selects events by their attributes, extensions included; all that is given must hold.
type Filter struct {
	Attributes map[string]string `json:"attributes"` // exact values
	Prefix     map[string]string `json:"prefix"`
	Suffix     map[string]string `json:"suffix"`
}

// Delivery says how often and how long a subscriber is tried.
type Delivery struct {
	Retry          *int     `json:"retry"`          // tries after the first; 5 when not given
	BackoffPolicy  string   `json:"backoffPolicy"`  // linear or exponential, which is the default
	BackoffDelay   Duration `json:"backoffDelay"`   // 0 means 1s
	Timeout        Duration `json:"timeout"`        // of one try; 0 means 1m
	DeadLetterSink string   `json:"deadLetterSink"` // URL; empty means the dead-letter queue
}

// Duration is written as in ISO 8601 (PT1M30S), which Knative uses, or as in Go (1m30s).
type Duration time.Duration

// UnmarshalText reads either form; of ISO 8601 it takes hours, minutes and seconds.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if iso, ok := strings.CutPrefix(s, "PT"); ok {
		s = strings.ToLower(iso)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %q: want PT1M30S or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

const (
	// MaxTimeout is the longest timeout of a delivery. With the longest pause of a trigger it is below 30 minutes, after
	// which RabbitMQ takes a message back (consumer_timeout).
	MaxTimeout = 20 * time.Minute
	// MaxDelay is the longest that an event waits before it is tried again.
	MaxDelay = 30 * time.Minute
)

const maxParallelism = 200 // each is a channel, of which RabbitMQ allows a connection 2047

// Triggers are all that a broker serves.
type Triggers []Trigger

// ParseTriggers reads YAML: a list of triggers under the key triggers. An unknown field is an error; so is all that
// [Triggers.Validate] reports.
func ParseTriggers(text []byte) (Triggers, error) {
	var file struct {
		Triggers Triggers `json:"triggers"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("parse triggers: %w", err)
	}
	if err := file.Triggers.Validate(); err != nil {
		return nil, err
	}
	return file.Triggers, nil
}

var (
	triggerName   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	attributeName = regexp.MustCompile(`^[a-z0-9]+$`)
)

// Validate reports every fault of every trigger.
func (ts Triggers) Validate() error {
	var errs []error
	if len(ts) == 0 {
		errs = append(errs, errors.New("there are no triggers"))
	}
	names, queues := map[string]bool{}, map[string]bool{}
	for i, t := range ts {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("trigger %s: "+format, append([]any{cmp.Or(t.Name, fmt.Sprint(i+1))}, args...)...))
		}
		if !triggerName.MatchString(t.Name) {
			bad("name=%q: want lower-case letters, digits and dashes", t.Name)
		}
		if names[t.Name] {
			bad("name is taken by another trigger")
		}
		if q := t.queue(defaultPrefix); queues[q] {
			bad("queue=%s is another trigger's", q)
		} else if len(q)+len(deadSuffix) > maxShort {
			bad("queue: want at most %d bytes", maxShort-len(deadSuffix))
		}
		if !slices.Contains([]string{"", amqp.QueueTypeQuorum, amqp.QueueTypeClassic}, t.QueueType) {
			bad("queueType=%q: want quorum or classic", t.QueueType)
		}
		names[t.Name], queues[t.queue(defaultPrefix)] = true, true
		for _, m := range []map[string]string{t.Filter.Attributes, t.Filter.Prefix, t.Filter.Suffix} {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				if !attributeName.MatchString(k) || m[k] == "" {
					bad("filter: %s=%q: want an attribute's name (lower-case letters and digits) and a value", k, m[k])
				}
			}
		}
		if t.Subscriber == "" && !t.Legacy {
			bad("subscriber is missing")
		}
		urls := map[string]string{"subscriber": t.Subscriber, "delivery.deadLetterSink": t.Delivery.DeadLetterSink}
		for name, v := range urls {
			if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
				bad("%s=%q: want an http or https URL", name, v)
			}
		}
		if t.Parallelism < 0 || t.Parallelism > maxParallelism {
			bad("parallelism=%d: want 1 to %d", t.Parallelism, maxParallelism)
		}
		d := t.Delivery
		if d.Retry != nil && *d.Retry < 0 {
			bad("delivery.retry=%d: want 0 or more", *d.Retry)
		}
		if !slices.Contains([]string{"", "linear", "exponential"}, d.BackoffPolicy) {
			bad("delivery.backoffPolicy=%q: want linear or exponential", d.BackoffPolicy)
		}
		if b := time.Duration(d.BackoffDelay); b < 0 || b > MaxDelay {
			bad("delivery.backoffDelay=%v: want at most %v", b, MaxDelay)
		}
		if o := time.Duration(d.Timeout); o < 0 || o > MaxTimeout {
			bad("delivery.timeout=%v: want at most %v, or RabbitMQ takes the event back meanwhile", o, MaxTimeout)
		}
	}
	return errors.Join(errs...)
}

func (ts Triggers) find(name string) (Trigger, error) {
	for _, t := range ts {
		if t.Name == name {
			return t, nil
		}
	}
	return Trigger{}, fmt.Errorf("there is no trigger %q", name)
}

// Matches reports whether the trigger wants the event.
func (t Trigger) Matches(e event.Event) bool {
	return matches(e, t.Filter.Attributes, func(have, want string) bool { return have == want }) &&
		matches(e, t.Filter.Prefix, strings.HasPrefix) &&
		matches(e, t.Filter.Suffix, strings.HasSuffix)
}

func matches(e event.Event, wants map[string]string, ok func(have, want string) bool) bool {
	for name, want := range wants {
		if have, has := attributeOf(e, name); !has || !ok(have, want) {
			return false
		}
	}
	return true
}

// attributeOf gives the canonical string of an attribute or extension.
func attributeOf(e event.Event, name string) (string, bool) {
	var v any
	if a := spec.V1.Attribute(name); a != nil {
		v = a.Get(e.Context)
	} else {
		v = e.Extensions()[name]
	}
	if v == nil {
		return "", false
	}
	s, err := types.Format(v)
	return s, err == nil
}

func (t Trigger) queue(prefix string) string { return cmp.Or(t.Queue, prefix+"."+t.Name) }

func (t Trigger) wrapType() string { return cmp.Or(t.Type, t.Filter.Attributes["type"]) }

func (t Trigger) audience() string { return cmp.Or(t.Audience, t.Name) }

func (t Trigger) parallelism() int { return cmp.Or(t.Parallelism, 1) }

func (d Delivery) timeout() time.Duration { return cmp.Or(time.Duration(d.Timeout), time.Minute) }

// held is how long a worker may hold a message: its trigger may be shut, and then comes the delivery, and what follows
// from its answer.
func (t Trigger) held() time.Duration {
	return maxPause + t.Delivery.timeout() + AnswerTimeout + time.Minute
}

func (d Delivery) retry() int {
	if d.Retry == nil {
		return 5
	}
	return *d.Retry
}

// backoff is how long to wait after the given number of failed attempts. It is Knative's formula, less up to a fifth,
// so that events that failed together do not return together.
func (d Delivery) backoff(attempts int) time.Duration {
	base := cmp.Or(time.Duration(d.BackoffDelay), time.Second)
	wait := base * time.Duration(attempts)
	if d.BackoffPolicy != "linear" {
		wait = base << min(attempts, 20)
	}
	if wait <= 0 || wait > MaxDelay {
		wait = MaxDelay
	}
	return wait - rand.N(wait/5+1) //nolint:gosec // no secret: it spreads retries
}
