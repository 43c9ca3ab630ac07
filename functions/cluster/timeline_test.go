//go:build e2e

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// timeline is how many pods a Service had, and when that changed.
type timeline struct {
	began   time.Time
	changes []change
	err     error // why the watch ended before
	stop    chan struct{}
	done    chan struct{}
}

type change struct {
	after       time.Duration
	pods, ready int
}

// watch looks four times a second, until the timeline is read, at a Service's pods that do not end.
func (c *cluster) watch(service string) *timeline {
	tl := &timeline{began: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(tl.done)
		for {
			now := change{after: time.Since(tl.began)}
			pods, err := c.list(namespace, service)
			if err != nil {
				tl.err = err
				return
			}
			for _, p := range pods {
				if ending(p) {
					continue
				}
				now.pods++
				if slices.ContainsFunc(p.Status.Conditions, isReady) {
					now.ready++
				}
			}
			if n := len(tl.changes); n == 0 || tl.changes[n-1].pods != now.pods || tl.changes[n-1].ready != now.ready {
				tl.changes = append(tl.changes, now)
			}
			select {
			case <-tl.stop:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return tl
}

func isReady(c corev1.PodCondition) bool {
	return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
}

// read ends the watch and gives the most pods there were.
func (tl *timeline) read() (most int, err error) {
	close(tl.stop)
	<-tl.done
	for _, c := range tl.changes {
		most = max(most, c.pods)
	}
	return most, tl.err
}

func (tl *timeline) String() string {
	var b strings.Builder
	for _, c := range tl.changes {
		fmt.Fprintf(&b, "%7.1f s  %d pods, %d ready\n", c.after.Seconds(), c.pods, c.ready)
	}
	return b.String()
}

// spread gives a line of percentiles.
func spread(all []time.Duration) string {
	p := func(percent int) string { return seconds(at(percent, all)) }
	return fmt.Sprintf("min %s, p50 %s, p90 %s, p99 %s, max %s", p(0), p(50), p(90), p(99), p(100))
}

func at(percent int, all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[((len(all)-1)*percent+50)/100]
}
