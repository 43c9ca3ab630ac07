//go:build e2e

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetes "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	serving "knative.dev/serving/pkg/client/clientset/versioned/typed/serving/v1"
)

const (
	namespace = "soundstrip"
	beside    = "soundstrip-e2e" // what is the test's own
	root      = "../.."          // of the repository
)

// overlay is what the test changes in config/, so that it fits on two cores, does not wait for a minute to see a
// converter end, and mails go to the probe. Each old text is there once.
var overlay = map[string][][2]string{
	"100-variables.yaml": {
		{"LOGIN_SIGNUP: closed", "LOGIN_SIGNUP: open\n  LOGIN_CONFIRM: \"false\""},
		{"SMTP_HOST: smtp.example.com", "SMTP_HOST: probe." + beside + ".svc.cluster.local"},
		{"SMTP_TLS: starttls", "SMTP_TLS: none"},
	},
	"200-triggers.yaml": {
		{"audience: convert\n        parallelism: 10", "audience: convert\n        parallelism: 2"},
	},
	"303-convert.yaml": {
		{
			`autoscaling.knative.dev/max-scale: "20"`,
			`autoscaling.knative.dev/max-scale: "4"` + "\n        autoscaling.knative.dev/window: 6s",
		},
		{"requests: {cpu: 375m,", "requests: {cpu: 100m,"},
	},
}

// maxScale is how many converters the overlay lets be.
const maxScale = 4

// cluster is Soundstrip where KUBECONFIG leads.
type cluster struct {
	t       *testing.T
	kube    *kubernetes.CoreV1Client
	serving *serving.ServingV1Client
	client  *http.Client // to Knative's routes
}

func connect(t *testing.T) *cluster {
	t.Helper()
	for _, variable := range []string{"KUBECONFIG", "KO_DOCKER_REPO"} {
		if os.Getenv(variable) == "" {
			t.Fatalf("%s is not set: see doc.go", variable)
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 50, 100
	c := &cluster{t: t}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if c.serving, err = serving.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ingress := os.Getenv("INGRESS"); ingress != "" {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ingress)
		}
	}
	c.client = &http.Client{Transport: transport, Timeout: 10 * time.Minute}
	return c
}

// deploy brings config/ with the overlay, and the test's own, into the cluster and waits until all of it is ready.
func (c *cluster) deploy() {
	c.t.Helper()
	dir := c.t.TempDir()
	files, err := filepath.Glob(filepath.Join(root, "config", "*.yaml"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("Glob(config/*.yaml) = %v, %v, want files", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		name := filepath.Base(file)
		for _, change := range overlay[name] {
			if n := bytes.Count(text, []byte(change[0])); n != 1 {
				c.t.Fatalf("%s has %q %d times, want it once", name, change[0], n)
			}
			text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	stores := os.Getenv("STORES")
	if stores == "" {
		stores = "config/stores"
	}
	c.run("kubectl", "apply", "-f", "config/000-namespace.yaml")
	c.run("config/secrets")
	c.run("go", "tool", "-modfile=.ci/tools/go.mod", "ko", "apply",
		"-f", stores, "-f", dir, "-f", "functions/cluster/testdata/e2e.yaml")
	// An earlier run's broker may have read other triggers.
	c.run("kubectl", "-n", namespace, "rollout", "restart", "deployment/broker")
	c.run("kubectl", "-n", namespace, "rollout", "status", "deployment/broker", "--timeout="+patience.String())
	c.run("kubectl", "-n", beside, "rollout", "status", "deployment/probe", "--timeout="+patience.String())
	for _, name := range []string{"login", "validate", "upload", "convert", "notify", "jobs", "gateway"} {
		c.ready(namespace, name)
	}
	c.ready(beside, "hello")
}

// run runs a command in the root of the repository.
func (c *cluster) run(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %q: %v\n%s", name, args, err, out[max(0, len(out)-2000):])
	}
	return string(out)
}

// ready waits until Knative has made of a Service what its spec says.
func (c *cluster) ready(namespace, name string) (s *servingv1.Service) {
	c.t.Helper()
	eventually(c.t, name+" to be ready", func() bool {
		s = c.service(namespace, name)
		return s.IsReady()
	})
	return s
}

func (c *cluster) service(namespace, name string) *servingv1.Service {
	c.t.Helper()
	s, err := c.serving.Services(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// update changes a Service as kn does: it reads it, changes it, and writes it, again when Knative has written it
// meanwhile. It gives the Service when it is ready.
func (c *cluster) update(name string, change func(*servingv1.ServiceSpec)) *servingv1.Service {
	c.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		s := c.service(namespace, name)
		before := s.DeepCopy()
		change(&s.Spec)
		if equality.Semantic.DeepEqual(before.Spec, s.Spec) {
			c.t.Fatalf("the update of %s changes nothing", name)
		}
		_, err := c.serving.Services(namespace).Update(c.t.Context(), s, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.ready(namespace, name)
}

// limit lets a request to a function take so many seconds, and gives it a variable. The function that it returns sets
// both back.
func (c *cluster) limit(name string, seconds int64, variable, value string) (back func()) {
	c.t.Helper()
	before := c.service(namespace, name).Spec
	c.update(name, func(s *servingv1.ServiceSpec) {
		s.Template.Spec.TimeoutSeconds = &seconds
		env := &s.Template.Spec.Containers[0].Env
		*env = append(*env, corev1.EnvVar{Name: variable, Value: value})
	})
	return func() { c.update(name, func(s *servingv1.ServiceSpec) { *s = before }) }
}

// url is the address of a function's route.
func (c *cluster) url(name string) string { return c.service(namespace, name).Status.URL.String() }

// pods are those of a Service.
func (c *cluster) pods(namespace, service string) []corev1.Pod {
	c.t.Helper()
	pods, err := c.list(namespace, service)
	if err != nil {
		c.t.Fatal(err)
	}
	return pods
}

// list is pods for goroutines, which cannot end the test.
func (c *cluster) list(namespace, service string) ([]corev1.Pod, error) {
	of := metav1.ListOptions{LabelSelector: "serving.knative.dev/service=" + service}
	list, err := c.kube.Pods(namespace).List(c.t.Context(), of)
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", service, err)
	}
	return list.Items, nil
}

// ending says that a pod takes no more requests, though it may not have ended those that it has.
func ending(p corev1.Pod) bool { return p.DeletionTimestamp != nil }

// zero waits until a Service has no pod but such as end, so that its next request starts one.
func (c *cluster) zero(namespace, service string) {
	c.t.Helper()
	eventually(c.t, service+" to scale to zero", func() bool {
		return !slices.ContainsFunc(c.pods(namespace, service), func(p corev1.Pod) bool { return !ending(p) })
	})
}

// gone waits until a Service has no pod at all.
func (c *cluster) gone(namespace, service string) {
	c.t.Helper()
	eventually(c.t, service+" to have no pod", func() bool { return len(c.pods(namespace, service)) == 0 })
}

// call sends a request from the probe's pod.
func (c *cluster) call(method, url string, header map[string]string, body string) (answer struct {
	Status  int
	Body    string
	Seconds float64
}) {
	c.t.Helper()
	q, err := json.Marshal(map[string]any{"Method": method, "URL": url, "Header": header, "Body": body})
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := c.kube.RESTClient().Post().
		Namespace(beside).Resource("services").Name("probe:http").SubResource("proxy").Suffix("call").
		Body(q).SetHeader("Content-Type", "application/json").DoRaw(c.t.Context())
	if err != nil {
		c.t.Fatalf("%s %s from a pod: %v %s", method, url, err, raw)
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// mails are those that the probe got which contain all of the parts.
func (c *cluster) mails(parts ...string) (found []string) {
	c.t.Helper()
	raw, err := c.kube.Services(beside).ProxyGet("http", "probe", "http", "mails", nil).DoRaw(c.t.Context())
	if err != nil {
		c.t.Fatalf("GET /mails of the probe: %v %s", err, raw)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil {
		c.t.Fatal(err)
	}
mails:
	for _, mail := range all {
		for _, part := range parts {
			if !strings.Contains(mail, part) {
				continue mails
			}
		}
		found = append(found, mail)
	}
	return found
}

// secret gives a value of a Secret.
func (c *cluster) secret(name, key string) []byte {
	c.t.Helper()
	s, err := c.kube.Secrets(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Data[key]
}

// delete deletes a pod and gives it so many seconds to end; none kills it.
func (c *cluster) delete(pod string, grace *int64) {
	c.t.Helper()
	err := c.kube.Pods(namespace).Delete(c.t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: grace})
	if err != nil {
		c.t.Fatal(err)
	}
}

// patience is how long anything may take that the test waits for: so long that a busy machine does not miss it.
const patience = 15 * time.Minute

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting after %v: %s", patience, what)
		}
		<-time.After(250 * time.Millisecond)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
