//go:build e2e

package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// TestCluster deploys Soundstrip and walks through all that Knative has a part in. Its parts come one after the other:
// most of them begin with no converter.
func TestCluster(t *testing.T) { //nolint:paralleltest // it has the cluster for itself
	c := connect(t)
	c.deploy()
	p := &person{t: t, client: c.client, url: c.url("gateway")}
	p.routed()
	p.signUp()
	p.token = string(p.do("POST", "/login"))

	for _, part := range []struct {
		name string
		run  func(*testing.T, *cluster, *person)
	}{
		{"one video", testOne},
		{"curl", testCurl},
		{"timers", testTimers},
		{"longer than a request may take", testResumed},
		{"a name of its own", testDomain},
		{"rights", testRights},
		{"only the broker calls convert", testRefused},
		{"cold starts", testCold},
		{"fifty videos", testFifty},
		{"longer than the window", testLong},
		{"revision replaced", testReplaced},
		{"pod deleted", testDeleted},
		{"pod killed", testKilled},
		{"brokers killed", testBrokersKilled},
		{"faults", testFaults},
		{"kn service update", testUpdate},
		{"scale without a revision", testScale},
		{"traffic split and rollback", testSplit},
	} {
		t.Run(part.name, func(t *testing.T) {
			c, p := *c, *p
			c.t, p.t = t, t
			part.run(t, &c, &p)
		})
	}
}

// testOne takes a video all the way by a converter that starts from zero, and sees the converter go.
func testOne(t *testing.T, c *cluster, p *person) {
	for name, call := range map[string][2]string{
		"login": {"POST", "/login"}, "validate": {"POST", "/validate"}, "jobs": {"GET", "/jobs"},
	} {
		direct := *p
		if name == "login" {
			direct.token = ""
		}
		url := c.url(name) + call[1]
		eventually(t, call[0]+" "+url+" to be routed", func() bool {
			status, _, err := direct.send(call[0], url, nil, nil)
			return err == nil && status == http.StatusOK
		})
	}
	if claims := p.do("POST", "/validate"); !bytes.Contains(claims, []byte(email)) {
		t.Errorf("POST /validate = %q, want the claims of %s", claims, email)
	}
	c.zero(namespace, "convert")
	id := p.upload(video(t, "one.mp4", 3))
	j := p.await(id)
	t.Logf("from the upload's end to the converter's start, from zero: %s; conversion: %s",
		seconds(j.waited()), seconds(j.worked()))
	if length := p.download(j.MP3.FID); length < 2.9 || length > 3.1 {
		t.Errorf("the MP3 lasts %v s, want 3", length)
	}
	if mails := c.mails(j.MP3.FID, email); len(mails) != 1 {
		t.Errorf("mails to %s about %s = %d, want 1", email, j.MP3.FID, len(mails))
	}
	ended := time.Now()
	c.gone(namespace, "convert")
	t.Logf("from the mail until there is no pod: %s", seconds(time.Since(ended)))
}

// testRights sees that what runs has the rights that config gives it, Knative's own container included.
func testRights(t *testing.T, c *cluster, p *person) {
	p.upload(video(t, "rights.mp4", 1))
	eventually(t, "a converter", func() bool { return len(c.pods(namespace, "convert")) > 0 })
	for _, name := range []string{"convert", "gateway", "upload"} {
		for _, pod := range c.pods(namespace, name) {
			for _, container := range pod.Spec.Containers {
				s := container.SecurityContext
				if s == nil || !ptr.Deref(s.RunAsNonRoot, false) || !ptr.Deref(s.ReadOnlyRootFilesystem, false) ||
					ptr.Deref(s.AllowPrivilegeEscalation, true) ||
					s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
					s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
					t.Errorf("%s of %s has the rights %+v, want the least", container.Name, pod.Name, s)
				}
			}
			for _, v := range pod.Spec.Volumes {
				if v.Projected != nil {
					t.Errorf("%s has the projected volume %s, want no token", pod.Name, v.Name)
				}
			}
		}
	}
}

// testRefused calls convert from a pod that is not the broker, and from outside.
func testRefused(t *testing.T, c *cluster, p *person) {
	url := c.url("convert")
	if !strings.HasSuffix(url, ".svc.cluster.local") {
		t.Errorf("the route of convert is %s, want one within the cluster", url)
	}
	header, body := post(t, nil, media.NewID())
	if a := c.call("POST", url, header, body); a.Status != http.StatusUnauthorized {
		t.Errorf("POST to convert by another pod = %d %q, want 401", a.Status, a.Body)
	}
	header, body = post(t, []byte(strings.Repeat("no secret of ours ", 2)), media.NewID())
	if a := c.call("POST", url, header, body); a.Status != http.StatusForbidden {
		t.Errorf("POST to convert by another pod with its own token = %d %q, want 403", a.Status, a.Body)
	}
	outside := strings.Replace(c.url("gateway"), "gateway", "convert", 1)
	status, _, err := p.send("POST", outside, header, strings.NewReader(body))
	if err == nil && status != http.StatusNotFound {
		t.Errorf("POST %s from outside = %d, want 404 or no such host", outside, status)
	}
}

// post makes the headers and the body of video.uploaded about a job, as the broker posts it when the secret is the
// broker's.
func post(t *testing.T, secret []byte, job string) (header map[string]string, body string) {
	t.Helper()
	about := eventing.Reference{VideoFID: job, Username: email}
	e, err := eventing.New("/soundstrip/upload", job, 1, eventing.VideoUploaded{Reference: about})
	if err != nil {
		t.Fatal(err)
	}
	structured, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/", bytes.NewReader(structured)) // which is what is signed
	if err := eventing.Authorize(r, secret, "convert"); err != nil {
		t.Fatal(err)
	}
	header = map[string]string{"Content-Type": event.ApplicationCloudEventsJSON}
	if token := r.Header.Get("Authorization"); token != "" {
		header["Authorization"] = token
	}
	return header, string(structured)
}

// testCold starts hello, convert and login from zero by turns, each of them first and last. Convert's answer about a
// video that nobody has comes when it has looked into MongoDB, so that its time is that to the first work. Login's is
// that of the first request after a rest, which goes by the gateway.
func testCold(t *testing.T, c *cluster, _ *person) {
	basic := base64.StdEncoding.EncodeToString([]byte(email + ":" + password))
	secret := c.secret("events", "secret")
	start := map[string]func() time.Duration{
		"hello": func() time.Duration {
			return c.timed(http.StatusOK, "GET", "http://hello."+beside+".svc.cluster.local", nil, "")
		},
		"convert": func() time.Duration {
			header, body := post(t, secret, media.NewID())
			return c.timed(http.StatusNoContent, "POST", c.url("convert"), header, body)
		},
		"login": func() time.Duration {
			url := "http://gateway." + namespace + ".svc.cluster.local/login"
			return c.timed(http.StatusOK, "POST", url, map[string]string{"Authorization": "Basic " + basic}, "")
		},
	}
	took := map[string][]time.Duration{}
	order := []string{"hello", "convert", "login"}
	for range 24 {
		c.zero(beside, "hello")
		c.zero(namespace, "convert")
		c.zero(namespace, "login")
		for _, name := range order {
			<-time.After(rand.N(time.Second)) // the kubelet does some things once a second, and all try each moment of it
			took[name] = append(took[name], start[name]())
		}
		order = append(order[1:], order[0])
	}
	t.Logf("cold start of hello:   %s", spread(took["hello"]))
	t.Logf("cold start of convert: %s", spread(took["convert"]))
	t.Logf("first login by the gateway: %s", spread(took["login"]))
	ratio := func(percent int) float64 {
		return at(percent, took["convert"]).Seconds() / at(percent, took["hello"]).Seconds()
	}
	t.Logf("ratio of the fastest: %.2f, of the medians: %.2f", ratio(0), ratio(50))
	t.Logf("convert when it is there: %v", start["convert"]().Round(time.Millisecond))
}

// timed sends a request from the probe's pod and gives the time until the answer began.
func (c *cluster) timed(want int, method, url string, header map[string]string, body string) time.Duration {
	c.t.Helper()
	a := c.call(method, url, header, body)
	if a.Status != want {
		c.t.Fatalf("%s %s from a pod = %d %q, want %d", method, url, a.Status, a.Body, want)
	}
	return time.Duration(a.Seconds * float64(time.Second))
}

// testFifty uploads fifty videos at once: converters come up to their maximum and not above, every video comes back,
// and the converters go.
func testFifty(t *testing.T, c *cluster, p *person) {
	const videos = 50
	name := unique("fifty")
	file := video(t, name+".mp4", 60)
	c.zero(namespace, "convert")
	pods := c.watch("convert")
	ids := make([]string, videos)
	var uploads errgroup.Group
	for i := range ids {
		uploads.Go(func() (err error) { ids[i], err = p.tryUpload(file); return err })
	}
	if err := uploads.Wait(); err != nil {
		t.Fatal(err)
	}
	uploaded := time.Since(pods.began)
	var waits, works []time.Duration
	for _, id := range ids {
		j := p.await(id)
		waits = append(waits, j.waited())
		works = append(works, j.worked())
		if len(j.Attempts) != 1 {
			t.Errorf("job %s took %d attempts, want 1", id, len(j.Attempts))
		}
	}
	drained := time.Since(pods.began)
	c.gone(namespace, "convert")
	most, err := pods.read()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d videos: uploaded in %s, all notified after %s\nqueue wait: %s\nconversion: %s\nconverters:\n%s",
		videos, seconds(uploaded), seconds(drained), spread(waits), spread(works), pods)
	if most != maxScale {
		t.Errorf("there were %d converters at most, want %d", most, maxScale)
	}
	c.once(name, ids...)
}

const (
	long    = 3 * time.Hour  // a video whose conversion lasts longer than it takes Knative to give up an idle pod
	longest = 12 * time.Hour // CONVERT_MAX_DURATION
)

// begun is a long video's job that a converter works on.
type begun struct {
	id, name, pod string
	length        time.Duration
}

// begin uploads a video of the given length and waits until a converter works on it.
func begin(t *testing.T, c *cluster, p *person, length time.Duration) begun {
	t.Helper()
	c.zero(namespace, "convert")
	b := begun{name: unique("long"), length: length}
	b.id = p.upload(video(t, b.name+".mp4", int(length.Seconds())))
	eventually(t, "the conversion to run", func() bool {
		j := p.job(b.id)
		if j.finished() {
			t.Fatalf("the conversion ended %s before it was seen to run: make the video longer", j.State)
		}
		return j.State == "converting" && j.Progress > 0
	})
	pods := slices.DeleteFunc(c.pods(namespace, "convert"), ending)
	if len(pods) != 1 {
		t.Fatalf("%d pods convert one video, want 1", len(pods))
	}
	b.pod = pods[0].Name
	return b
}

// whole waits for a long video's MP3 and sees that it is whole, and the only one.
func whole(t *testing.T, c *cluster, p *person, b begun, attempts int) view {
	t.Helper()
	j := p.await(b.id)
	if length, want := p.download(j.MP3.FID), b.length.Seconds(); length < want-1 || length > want+1 {
		t.Errorf("the MP3 lasts %v s, want %v", length, want)
	}
	if len(j.Attempts) != attempts {
		t.Errorf("the job took %d attempts, want %d", len(j.Attempts), attempts)
	}
	c.once(b.name, b.id)
	return j
}

// unique makes a name that no other file has, in this run or another.
func unique(name string) string { return fmt.Sprintf("%s-%x", name, time.Now().UnixNano()) }

// once sees that there is one mail a job and, where they can be counted, one MP3 a job of those that have the video's
// name.
func (c *cluster) once(name string, ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		if mails := c.mails(id); len(mails) != 1 {
			c.t.Errorf("mails about job %s = %d, want 1", id, len(mails))
		}
	}
	uri := os.Getenv("MONGODB_URI")
	if uri == "" {
		return
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Disconnect(c.t.Context())
	mp3s := client.Database("mp3s").Collection("fs.files")
	n, err := mp3s.CountDocuments(c.t.Context(), bson.M{"filename": name + ".mp3"})
	if err != nil || n != int64(len(ids)) {
		c.t.Errorf("MP3s of %s = %d (%v), want %d", name, n, err, len(ids))
	}
}

// testLong sees Knative leave a pod alone that has one request for longer than the window.
func testLong(t *testing.T, c *cluster, p *person) {
	b := begin(t, c, p, long)
	j := whole(t, c, p, b, 1)
	took := j.worked()
	t.Logf("a video of %v was converted in %s", long, seconds(took))
	if took < 12*time.Second {
		t.Errorf("the conversion took %v, which is within Knative's window: make the video longer", took)
	}
}

// testReplaced brings in a new revision while the old one converts: a longer video, when the conversion was over
// before.
func testReplaced(t *testing.T, c *cluster, p *person) {
	for length := long; ; length *= 2 {
		b := begin(t, c, p, length)
		old := c.service(namespace, "convert").Status.LatestReadyRevisionName
		s := c.update("convert", func(s *servingv1.ServiceSpec) {
			s.Template.Annotations["soundstrip.dev/e2e"] = time.Now().Format(time.RFC3339)
		})
		if s.Status.LatestReadyRevisionName == old {
			t.Fatalf("the latest revision is still %s", old)
		}
		during := !p.job(b.id).finished()
		whole(t, c, p, b, 1)
		if during {
			return
		}
		if length >= longest/2 {
			t.Fatalf("the conversion of %v was over before the revision was replaced", length)
		}
		t.Logf("the conversion of %v was over before the revision was replaced: try a longer one", length)
	}
}

// testDeleted deletes the pod, as a node that is drained does.
func testDeleted(t *testing.T, c *cluster, p *person) {
	b := begin(t, c, p, long)
	c.delete(b.pod, nil)
	whole(t, c, p, b, 1)
}

// testKilled takes the pod away without a warning. The next converter begins anew when the lease is over.
func testKilled(t *testing.T, c *cluster, p *person) {
	b := begin(t, c, p, long)
	c.delete(b.pod, ptr.To[int64](0))
	whole(t, c, p, b, 2)
}

// testBrokersKilled uploads while no broker is there. The uploads wait for it, and are sent.
func testBrokersKilled(t *testing.T, c *cluster, p *person) {
	brokers := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=broker"}
	pods, err := c.kube.Pods(namespace).List(t.Context(), brokers)
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("brokers = %v, %v, want two", pods, err)
	}
	file := video(t, unique("orphan")+".mp4", 3)
	for _, pod := range pods.Items {
		c.delete(pod.Name, ptr.To[int64](0))
	}
	began := time.Now()
	ids := make([]string, 3)
	var uploads errgroup.Group
	for i := range ids {
		uploads.Go(func() (err error) { ids[i], err = p.tryUpload(file); return err })
	}
	if err := uploads.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		p.await(id)
	}
	t.Logf("three videos, uploaded when both brokers were killed: all notified after %s", seconds(time.Since(began)))
}

// testUpdate does what `kn service update convert --scale-max 5 --concurrency-limit 1` does.
func testUpdate(t *testing.T, c *cluster, p *person) {
	before := c.service(namespace, "convert").Spec.Template
	s := c.update("convert", func(s *servingv1.ServiceSpec) {
		s.Template.Annotations["autoscaling.knative.dev/max-scale"] = "5"
		s.Template.Spec.ContainerConcurrency = ptr.To[int64](1)
	})
	r, err := c.serving.Revisions(namespace).Get(t.Context(), s.Status.LatestReadyRevisionName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Annotations["autoscaling.knative.dev/max-scale"]; got != "5" || *r.Spec.ContainerConcurrency != 1 {
		t.Errorf("revision %s has max-scale %q and concurrency %d, want 5 and 1", r.Name, got, *r.Spec.ContainerConcurrency)
	}
	if got, want := r.Spec.Containers[0].Image, before.Spec.Containers[0].Image; got != want {
		t.Errorf("the image became %s, was %s", got, want)
	}
	p.await(p.upload(video(t, "update.mp4", 1)))
}

// testScale changes how many converters there may be, by the revision that is there.
func testScale(t *testing.T, c *cluster, _ *person) {
	revision := c.service(namespace, "convert").Status.LatestReadyRevisionName
	const key = "autoscaling.knative.dev/max-scale"
	c.run("kubectl", "-n", namespace, "annotate", "revision", revision, key+"=3", "--overwrite")
	eventually(t, "the autoscaler to know", func() bool {
		return c.run("kubectl", "-n", namespace, "get", "podautoscaler", revision,
			"-o", `jsonpath={.metadata.annotations.autoscaling\.knative\.dev/max-scale}`) == "3"
	})
	if now := c.service(namespace, "convert").Status.LatestCreatedRevisionName; now != revision {
		t.Errorf("the latest revision is %s, want still %s", now, revision)
	}
}

// testSplit gives half of the traffic of login to a new revision, and takes it back.
func testSplit(t *testing.T, c *cluster, p *person) {
	first := c.service(namespace, "login").Status.LatestReadyRevisionName
	second := c.update("login", func(s *servingv1.ServiceSpec) {
		env := &s.Template.Spec.Containers[0].Env
		*env = append(*env, corev1.EnvVar{Name: "JWT_TTL", Value: "30m"})
	}).Status.LatestReadyRevisionName
	traffic := func(targets ...servingv1.TrafficTarget) *servingv1.Service {
		return c.update("login", func(s *servingv1.ServiceSpec) { s.Traffic = targets })
	}
	// The ingress may follow a moment after Knative has told it. The second revision gives a token for half an hour, the
	// first for one. A round ends as soon as it cannot come out right, since login does not take any number of them.
	const logins = 16
	routed := func(what, url string, least, most int) {
		eventually(t, what, func() bool {
			halves := 0
			for n := 1; n <= logins && halves <= most && halves+logins-n+1 >= least; n++ {
				switch lifetime, err := p.lifetime(url); {
				case err != nil:
					t.Log(err)
					return false
				case lifetime == 1800:
					halves++
				}
			}
			t.Logf("%d of %d logins at %s went to the new revision", halves, logins, url)
			if halves >= least && halves <= most {
				return true
			}
			<-time.After(time.Second)
			return false
		})
	}
	s := traffic(
		servingv1.TrafficTarget{RevisionName: first, Percent: ptr.To[int64](50)},
		servingv1.TrafficTarget{RevisionName: second, Percent: ptr.To[int64](50), Tag: "next"},
	)
	routed("half of the logins to go to the new revision", s.Status.URL.String(), 2, logins-2)
	i := slices.IndexFunc(s.Status.Traffic, func(target servingv1.TrafficTarget) bool { return target.Tag == "next" })
	routed("all logins at the tag to go to the new revision", s.Status.Traffic[i].URL.String(), logins, logins)
	s = traffic(servingv1.TrafficTarget{RevisionName: first, Percent: ptr.To[int64](100)})
	routed("all logins to go to the old revision again", s.Status.URL.String(), 0, 0)
	s = traffic(servingv1.TrafficTarget{LatestRevision: ptr.To(true), Percent: ptr.To[int64](100)})
	routed("all logins to go to the latest revision, as in the beginning", s.Status.URL.String(), logins, logins)
}
