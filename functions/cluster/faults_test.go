//go:build e2e

package cluster

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// crowd uploads one video again and again until it ends, and keeps what it was told.
type crowd struct {
	mu        sync.Mutex
	attempted int
	taken     []string // the jobs
	refused   []error
}

func (w *crowd) upload(p *person, file string) {
	id, err := p.tryUpload(file)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempted++
	if err != nil {
		w.refused = append(w.refused, err)
	} else {
		w.taken = append(w.taken, id)
	}
}

func (w *crowd) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.taken)
}

// testFaults takes away what carries the system, one thing after the other, while three clients upload. What was
// answered 202 has one MP3 and one mail in the end.
func testFaults(t *testing.T, c *cluster, p *person) {
	file := video(t, unique("faults")+".mp4", 60)
	var uploads crowd
	var clients sync.WaitGroup
	enough := make(chan struct{})
	end := sync.OnceFunc(func() { close(enough); clients.Wait() })
	defer end()
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-enough:
					return
				case <-time.After(time.Second):
					uploads.upload(p, file)
				}
			}
		})
	}
	more := func() {
		t.Helper()
		before := uploads.count()
		eventually(t, "more uploads to be taken", func() bool { return uploads.count() >= before+4 })
	}
	// kill takes a pod of the label away without a warning, or all.
	kill := func(label string, all bool) {
		t.Helper()
		pods, err := c.kube.Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: label})
		if err != nil || len(pods.Items) == 0 {
			t.Fatalf("pods of %s = %v, %v", label, pods, err)
		}
		for _, pod := range pods.Items {
			c.delete(pod.Name, ptr.To[int64](0))
			if !all {
				break
			}
		}
	}
	const service = "serving.knative.dev/service="
	type fault struct {
		name string
		do   func()
	}
	faults := []fault{
		{"a converter is killed", func() {
			eventually(t, "a converter", func() bool { return len(c.pods(namespace, "convert")) > 0 })
			kill(service+"convert", false)
		}},
		{"all pods of upload are killed", func() { kill(service+"upload", true) }},
		{"a broker is killed", func() { kill("app.kubernetes.io/name=broker", false) }},
		{"the revisions of convert and upload are replaced", func() {
			for _, name := range []string{"convert", "upload"} {
				c.update(name, func(s *servingv1.ServiceSpec) {
					s.Template.Annotations["soundstrip.dev/e2e"] = time.Now().Format(time.RFC3339Nano)
				})
			}
		}},
	}
	for name, variable := range map[string]string{"RabbitMQ": "RABBITMQ_CONTROL", "the kubelet": "KUBELET_CONTROL"} {
		control := os.Getenv(variable)
		if control == "" {
			t.Logf("%s is not set: %s is not stopped", variable, name)
			continue
		}
		faults = append(faults, fault{name + " is killed, and started again", func() {
			c.run(control, "stop")
			defer c.run(control, "start")
			more()
		}})
	}
	more()
	for _, f := range faults {
		f.do()
		more()
		t.Logf("%s: %d uploads were taken so far", f.name, uploads.count())
	}
	end()

	mp3s := map[string]bool{}
	for _, id := range uploads.taken {
		mp3s[p.await(id).MP3.FID] = true
	}
	mails, told := c.mails(), 0
	for _, id := range uploads.taken {
		about := slices.DeleteFunc(slices.Clone(mails), func(mail string) bool { return !strings.Contains(mail, id) })
		if len(about) == 1 {
			told++
		} else {
			t.Errorf("mails about job %s = %d, want 1", id, len(about))
		}
	}
	t.Logf("%d attempted, %d acknowledged, %d MP3s, %d told once; refused: %v",
		uploads.attempted, len(uploads.taken), len(mp3s), told, uploads.refused)
	if len(mp3s) != len(uploads.taken) {
		t.Errorf("%d jobs have %d MP3s", len(uploads.taken), len(mp3s))
	}
}
