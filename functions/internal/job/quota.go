package job

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Usage is what an owner has and does.
type Usage struct {
	Bytes   int64   `json:"bytes"`   // of videos, MP3s and uploads that are kept
	Jobs    int     `json:"jobs"`    // that are unfinished
	Uploads int     `json:"uploads"` // that are under way
	Minutes float64 `json:"minutes"` // of sound that was made today, by UTC
}

// Limits bound an [Usage]; what is 0 is not bounded.
type Limits struct {
	Bytes   int64 `json:"bytes,omitempty"`
	Jobs    int   `json:"jobs,omitempty"`
	Uploads int   `json:"uploads,omitempty"`
	Minutes int   `json:"minutes,omitempty"`
}

// defaultGroup is that of users who are in no other that has quotas.
const defaultGroup = "default"

// Quotas are the limits of groups of users.
type Quotas map[string]Limits

// Of gives the limits of a group.
func (q Quotas) Of(group string) Limits {
	if l, ok := q[group]; ok {
		return l
	}
	return q[defaultGroup]
}

// UnmarshalText reads groups with semicolons between, each a name and its limits: "default bytes=50G jobs=200
// uploads=20 minutes=1440; admin". Bytes may have a k, M, G or T (powers of 1000) behind them.
func (q *Quotas) UnmarshalText(text []byte) error {
	*q = Quotas{}
	var errs []error
	for group := range strings.SplitSeq(string(text), ";") {
		words := strings.Fields(group)
		if len(words) == 0 {
			continue
		}
		var l Limits
		for _, w := range words[1:] {
			if err := l.set(w); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", words[0], err))
			}
		}
		(*q)[words[0]] = l
	}
	return errors.Join(errs...)
}

func (l *Limits) set(word string) error {
	name, value, _ := strings.Cut(word, "=")
	factor := int64(1)
	if name == "bytes" {
		for i, unit := range []string{"k", "M", "G", "T"} {
			if v, ok := strings.CutSuffix(value, unit); ok {
				value = v
				for range i + 1 {
					factor *= 1000
				}
				break
			}
		}
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n <= 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q: want a number above 0, such as bytes=50G or jobs=200", word)
	}
	to := map[string]*int{"jobs": &l.Jobs, "uploads": &l.Uploads, "minutes": &l.Minutes}
	switch {
	case name == "bytes":
		l.Bytes = n * factor
	case to[name] != nil:
		*to[name] = int(n)
	default:
		return fmt.Errorf("%q: the limits are bytes, %s", word, strings.Join(slices.Sorted(maps.Keys(to)), ", "))
	}
	return nil
}

// kept is how many bytes of the job are stored.
func (j *Job) kept() (n int64) {
	if j.State == Expired {
		return 0
	}
	if !j.Video.Deleted {
		n = j.Video.Length
	}
	if j.MP3 != nil {
		n += j.MP3.Length
	}
	return n
}

// dayOf counts days, by UTC.
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }
