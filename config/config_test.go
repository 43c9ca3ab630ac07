package config_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

const (
	namespace = "soundstrip"
	local     = "." + namespace + ".svc.cluster.local"
)

func TestNamespaceIsFirst(t *testing.T) {
	t.Parallel()
	if first := decode(t, "000-namespace.yaml")[0]; first.GetName() != namespace {
		t.Errorf("first object = %s, want the namespace", first.GetName())
	}
	for _, o := range load(t) {
		if _, ok := o.(*corev1.Namespace); !ok && o.GetNamespace() != namespace {
			t.Errorf("namespace of %T %s = %q, want %q", o, o.GetName(), o.GetNamespace(), namespace)
		}
	}
}

func TestKnativeTakesEveryService(t *testing.T) {
	t.Parallel()
	var names []string
	for _, s := range all[*servingv1.Service](load(t)) {
		names = append(names, s.Name)
		ctx := apis.WithinCreate(t.Context())
		s.SetDefaults(ctx)
		if err := s.Validate(ctx); err != nil {
			t.Errorf("Validate(%s) = %v", s.Name, err)
		}
	}
	slices.Sort(names)
	want := []string{"convert", "gateway", "jobs", "login", "notify", "upload", "validate"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("Knative Services (-want +got):\n%s", diff)
	}
}

func TestServicesAreSizedAsDesigned(t *testing.T) {
	t.Parallel()
	objects := load(t)
	tests := []struct {
		name        string
		concurrency int64
		private     bool
		minutes     int64 // of timeout; 0 means Knative's default
	}{
		{name: "login", concurrency: 20},
		{name: "validate", concurrency: 200},
		{name: "upload", concurrency: 50, minutes: 10},
		{name: "convert", concurrency: 1, private: true, minutes: 10},
		{name: "notify", concurrency: 40, private: true},
		{name: "jobs", concurrency: 80, minutes: 10},
		{name: "gateway", concurrency: 100, minutes: 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := find[*servingv1.Service](t, objects, tt.name)
			spec := s.Spec.Template.Spec
			for name, labels := range map[string]map[string]string{"Service": s.Labels, "pods": s.Spec.Template.Labels} {
				if labels["app.kubernetes.io/name"] != tt.name || labels["app.kubernetes.io/part-of"] != "soundstrip" {
					t.Errorf("labels of the %s = %v, want app.kubernetes.io/name and part-of", name, labels)
				}
			}
			if got := *spec.ContainerConcurrency; got != tt.concurrency {
				t.Errorf("containerConcurrency = %d, want %d", got, tt.concurrency)
			}
			if got := s.Labels[networking.VisibilityLabelKey] == "cluster-local"; got != tt.private {
				t.Errorf("cluster-local = %v, want %v", got, tt.private)
			}
			for _, key := range []string{autoscaling.MinScaleAnnotationKey, autoscaling.MaxScaleAnnotationKey} {
				if s.Spec.Template.Annotations[key] == "" {
					t.Errorf("%s is missing", key)
				}
			}
			if tt.minutes == 0 {
				return
			}
			if got := ptr.Deref(spec.TimeoutSeconds, -1); got != 60*tt.minutes {
				t.Errorf("timeoutSeconds = %d, want %d", got, 60*tt.minutes)
			}
			if got := ptr.Deref(spec.ResponseStartTimeoutSeconds, -1); got != 0 {
				t.Errorf("responseStartTimeoutSeconds = %d, want 0: none", got)
			}
		})
	}
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	objects := load(t)
	types := map[string][]string{}
	for _, trigger := range triggers(t, objects) {
		for _, typ := range eventTypes(t) {
			e := event.New()
			if e.SetType(typ); trigger.Matches(e) {
				types[trigger.Audience] = append(types[trigger.Audience], typ)
			}
		}
		find[*servingv1.Service](t, objects, serviceOf(t, trigger.Subscriber))
		if got := serviceOf(t, trigger.Subscriber); got != trigger.Audience {
			t.Errorf("subscriber of %s = %s, want that of its audience, %s", trigger.Name, got, trigger.Audience)
		}
	}
	want := map[string][]string{
		"convert": {eventing.TypeVideoUploaded},
		"notify":  {eventing.TypeAudioConverted, eventing.TypeConversionFailed, eventing.TypeAccountMail},
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("types by audience (-want +got):\n%s", diff)
	}
	for audience, want := range map[string]string{"convert": "video", "notify": "mp3"} {
		if got := trigger(t, objects, audience).Queue; got != want {
			t.Errorf("queue of %s = %q, want the old one, %q", audience, got, want)
		}
	}
}

// TestLegacyTriggers holds the triggers beside the old system to those of the cluster: only the queue's type differs.
func TestLegacyTriggers(t *testing.T) {
	t.Parallel()
	objects := load(t)
	for file, names := range map[string][]string{
		"notify.yaml": {"convert", "notify", "notify-failed"}, "convert.yaml": {"convert", "notify", "notify-failed"},
	} {
		text, err := os.ReadFile(filepath.Join("legacy", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := broker.ParseTriggers(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(got) != len(names) {
			t.Fatalf("%s has %d triggers, want %q", file, len(got), names)
		}
		for i, g := range got {
			want := trigger(t, objects, names[i])
			if g.Queue != "" {
				want.QueueType = "classic"
			}
			if g.Legacy {
				want.Subscriber, want.Parallelism, want.Delivery, want.Legacy = "", 0, broker.Delivery{}, true
			}
			want.Type, want.Audience, want.Delivery.BackoffPolicy = g.Type, g.Audience, g.Delivery.BackoffPolicy
			if diff := cmp.Diff(want, g); diff != "" {
				t.Errorf("%s, trigger %s (-cluster +legacy):\n%s", file, names[i], diff)
			}
		}
	}
}

// What takes videos may refuse one before it has come.
func TestVideosAreTakenInFullDuplex(t *testing.T) {
	t.Parallel()
	objects := load(t)
	for _, name := range []string{"upload", "gateway"} {
		s := find[*servingv1.Service](t, objects, name)
		if got := s.Spec.Template.Annotations["features.knative.dev/http-full-duplex"]; got != "Enabled" {
			t.Errorf("http-full-duplex of %s = %q, want Enabled", name, got)
		}
	}
}

// eventTypes are those that have a schema, in order.
func eventTypes(t *testing.T) (types []string) {
	t.Helper()
	schemas, err := filepath.Glob("../eventing/schema/*.json")
	if err != nil || len(schemas) == 0 {
		t.Fatalf("schemas = %q, %v", schemas, err)
	}
	for _, schema := range schemas {
		types = append(types, strings.TrimSuffix(filepath.Base(schema), ".json"))
	}
	return types
}

// What the brokers have in flight must find a place in a function, or it waits in Knative until its delivery is over.
func TestBrokersSendNoMoreThanIsTaken(t *testing.T) {
	t.Parallel()
	objects := load(t)
	brokers := int64(*find[*appsv1.Deployment](t, objects, "broker").Spec.Replicas)
	for name, triggers := range map[string][]string{
		"convert": {"convert"}, "notify": {"notify", "notify-failed", "notify-account"},
	} {
		function := find[*servingv1.Service](t, objects, name).Spec.Template
		pods, err := strconv.ParseInt(function.Annotations[autoscaling.MaxScaleAnnotationKey], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var sent int64
		for _, tr := range triggers {
			sent += brokers * int64(trigger(t, objects, tr).Parallelism)
		}
		if taken := pods * *function.Spec.ContainerConcurrency; sent > taken {
			t.Errorf("%s: events in flight = %d, places = %d, want no more events than places", name, sent, taken)
		}
	}
}

// The sum of the comment in 303-convert.yaml: minikube with 4 CPUs.
func TestRolloutOfConvertHasRoom(t *testing.T) {
	t.Parallel()
	const (
		node       = 4000 // millicores
		kubernetes = 750  // that the pods of minikube's kube-system ask for
		knative    = 1000 // Serving and Kourier
		proxy      = 25   // queue-proxy
	)
	objects := load(t)
	free, convert := int64(node-kubernetes-knative), int64(0)
	for _, p := range objects.pods() {
		asks := int64(0)
		for _, c := range p.spec.Containers {
			asks += c.Resources.Requests.Cpu().MilliValue()
		}
		switch {
		case p.name == "convert":
			convert = asks + proxy
		case p.knative:
			free -= asks + proxy
		case p.name == "broker":
			free -= 2 * asks
		default:
			free -= asks
		}
	}
	if got := free / convert; got < 3 {
		t.Errorf("converters in %dm = %d, want two and the first of a new revision", free, got)
	}
}

// The sum of the comment in 100-variables.yaml.
func TestTimeoutsCoverEachOther(t *testing.T) {
	t.Parallel()
	objects := load(t)
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	convert := find[*servingv1.Service](t, objects, "convert").Spec.Template.Spec
	pod := find[*appsv1.Deployment](t, objects, "broker").Spec.Template.Spec
	variables := objects.variables(t, pod.Containers[0])
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	delivery := time.Duration(trigger(t, objects, "convert").Delivery.Timeout)
	rabbitmq := find[*corev1.ConfigMap](t, objects, "rabbitmq").Data["90-soundstrip.conf"]
	chain := []struct {
		name  string
		value time.Duration
	}{
		{"CONVERT_TIMEOUT", duration(objects.variables(t, convert.Containers[0])["CONVERT_TIMEOUT"])},
		{"DRAIN_TIMEOUT of convert", duration(objects.variables(t, convert.Containers[0])["DRAIN_TIMEOUT"])},
		{"timeoutSeconds of convert", time.Duration(*convert.TimeoutSeconds) * time.Second},
		{"delivery.timeout to convert", delivery},
		{"a delivery in flight and closing of the broker", delivery + broker.AnswerTimeout + serve.CloseTimeout},
		{"terminationGracePeriodSeconds of the broker", grace},
		{
			"consumer_timeout of RabbitMQ",
			duration(strings.TrimSpace(strings.TrimPrefix(rabbitmq, "consumer_timeout = ")) + "ms"),
		},
	}
	for i := 1; i < len(chain); i++ {
		if a, b := chain[i-1], chain[i]; a.value >= b.value {
			t.Errorf("%s = %v, %s = %v: want the first below the second", a.name, a.value, b.name, b.value)
		}
	}
	for _, name := range []string{"upload", "jobs", "gateway"} {
		spec := find[*servingv1.Service](t, objects, name).Spec.Template.Spec
		variables := objects.variables(t, spec.Containers[0])
		request, answer := duration(variables["REQUEST_TIMEOUT"]), duration(variables["ANSWER_TIMEOUT"])
		most := time.Duration(*spec.TimeoutSeconds) * time.Second
		if request <= 0 || request > most-time.Minute || answer <= 0 || answer > most/2 {
			t.Errorf("%s: REQUEST_TIMEOUT = %v, ANSWER_TIMEOUT = %v, timeoutSeconds = %v: want a minute less, and half", name,
				request, answer, most)
		}
	}
	delay, drain := duration(variables["SHUTDOWN_DELAY"]), duration(variables["DRAIN_TIMEOUT"])
	if delay < 10*time.Second || delay+drain+serve.CloseTimeout >= grace {
		t.Errorf("the broker takes events for %v after SIGTERM and waits %v for their ends, within %v: "+
			"want 10s or more, and all in time", delay, drain, grace)
	}
}

func TestPodsHaveTheLeastRights(t *testing.T) {
	t.Parallel()
	for _, p := range load(t).pods() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if got := p.labels["app.kubernetes.io/name"]; got != p.name {
				t.Errorf("label app.kubernetes.io/name = %q, want %q: the network policies go by it", got, p.name)
			}
			if p.spec.ServiceAccountName != "soundstrip" || ptr.Deref(p.spec.AutomountServiceAccountToken, true) {
				t.Error("want the service account soundstrip, without its token")
			}
			if !p.knative && ptr.Deref(p.spec.EnableServiceLinks, true) {
				t.Error("want enableServiceLinks: false, or a Service mysql sets MYSQL_PORT")
			}
			for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
				s := c.SecurityContext
				if s == nil || !ptr.Deref(s.RunAsNonRoot, false) || ptr.Deref(s.RunAsUser, 0) == 0 ||
					!ptr.Deref(s.ReadOnlyRootFilesystem, false) || ptr.Deref(s.AllowPrivilegeEscalation, true) ||
					s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0 ||
					s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
					t.Errorf("securityContext of %s = %+v, want all rights given up", c.Image, s)
				}
				for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
					if list.Cpu().IsZero() || list.Memory().IsZero() {
						t.Errorf("resources of %s = %v, want requests and limits of cpu and memory", c.Image, c.Resources)
					}
				}
				if !p.once && (c.ReadinessProbe == nil || c.LivenessProbe == nil) {
					t.Errorf("container of %s: want a readiness and a liveness probe", c.Image)
				}
			}
		})
	}
}

var pinned = regexp.MustCompile(`^[a-z./]+:[0-9]+\.[0-9]+\.[0-9]+[a-z-]*@sha256:[0-9a-f]{64}$`)

func TestImages(t *testing.T) {
	t.Parallel()
	var built []string
	for _, p := range load(t).pods() {
		for _, c := range p.spec.Containers {
			if path, ok := strings.CutPrefix(c.Image, "ko://"); ok {
				built = append(built, path)
			} else if !pinned.MatchString(c.Image) {
				t.Errorf("image of %s = %s, want a version and a digest", p.name, c.Image)
			}
		}
	}
	slices.Sort(built)
	built = slices.Compact(built) // go list names each once
	list := append([]string{"list", "-f", "{{.Name}}"}, built...)
	out, err := exec.CommandContext(t.Context(), "go", list...).CombinedOutput()
	if err != nil {
		t.Fatalf("go list %q: %v\n%s", built, err, out)
	}
	if got, want := strings.Fields(string(out)), slices.Repeat([]string{"main"}, len(built)); !slices.Equal(got, want) {
		t.Errorf("packages %q are called %q, want all main", built, got)
	}

	text, err := os.ReadFile("../ko.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var ko struct {
		DefaultBaseImage   string            `json:"defaultBaseImage"`
		BaseImageOverrides map[string]string `json:"baseImageOverrides"`
		DefaultFlags       []string          `json:"defaultFlags"`
		DefaultLdflags     []string          `json:"defaultLdflags"`
	}
	if err := yaml.UnmarshalStrict(text, &ko); err != nil {
		t.Fatalf("ko.yaml: %v", err)
	}
	for path := range ko.BaseImageOverrides {
		if !slices.Contains(built, path) {
			t.Errorf("ko.yaml has a base for %s, which config does not run", path)
		}
	}
}

func TestAddressesNameServices(t *testing.T) {
	t.Parallel()
	objects := load(t)
	var services []string
	for _, o := range all[*corev1.Service](objects) {
		services = append(services, o.Name)
	}
	for _, o := range all[*servingv1.Service](objects) {
		services = append(services, o.Name)
	}
	for _, m := range all[*corev1.ConfigMap](objects) {
		for name, value := range m.Data {
			if strings.HasPrefix(value, "http://") && strings.HasSuffix(value, local) &&
				!slices.Contains(services, serviceOf(t, value)) {
				t.Errorf("%s = %s, want one of the services %q", name, value, services)
			}
		}
	}
}

func TestNetworkPoliciesSelectPods(t *testing.T) {
	t.Parallel()
	objects := load(t)
	known := map[string]bool{}
	for _, p := range objects.pods() {
		known[p.labels["app.kubernetes.io/name"]] = true
	}
	check := func(policy string, s *metav1.LabelSelector) {
		if s == nil {
			return
		}
		names := []string{s.MatchLabels["app.kubernetes.io/name"]}
		for _, e := range s.MatchExpressions {
			if e.Key == "app.kubernetes.io/name" {
				names = append(names, e.Values...)
			}
		}
		for _, name := range names {
			if name != "" && !known[name] {
				t.Errorf("network policy %s selects %q, which is no pod of ours", policy, name)
			}
		}
	}
	for _, p := range all[*networkingv1.NetworkPolicy](objects) {
		check(p.Name, &p.Spec.PodSelector)
		for _, rule := range p.Spec.Ingress {
			for _, peer := range rule.From {
				check(p.Name, peer.PodSelector)
			}
		}
		for _, rule := range p.Spec.Egress {
			for _, peer := range rule.To {
				check(p.Name, peer.PodSelector)
			}
		}
	}
}

// TestWaysToStores has nobody reach the stores whom they do not let in, nor anything else by these ways.
func TestWaysToStores(t *testing.T) {
	t.Parallel()
	objects := load(t)
	for _, tt := range []struct{ out, in string }{
		{"login-to-mysql", "mysql"}, {"functions-to-mongodb", "mongodb"}, {"broker-to-rabbitmq", "rabbitmq"},
	} {
		out, in := find[*networkingv1.NetworkPolicy](t, objects, tt.out), find[*networkingv1.NetworkPolicy](t, objects, tt.in)
		if diff := cmp.Diff(names(in.Spec.Ingress[0].From[0].PodSelector), names(&out.Spec.PodSelector)); diff != "" {
			t.Errorf("%s is for others than those whom %s lets in (-in +out):\n%s", tt.out, tt.in, diff)
		}
		to := out.Spec.Egress[0].To
		if len(out.Spec.Egress) != 1 || len(to) != 1 || !slices.Equal(names(to[0].PodSelector), []string{tt.in}) {
			t.Errorf("%s leads to %+v, want %s only", tt.out, out.Spec.Egress, tt.in)
		}
		own := find[*networkingv1.NetworkPolicy](t, decode(t, "own-stores/networkpolicies.yaml"), tt.out)
		if diff := cmp.Diff(names(&out.Spec.PodSelector), names(&own.Spec.PodSelector)); diff != "" {
			t.Errorf("%s of own-stores is for others (-stores +own):\n%s", tt.out, diff)
		}
		if peers := own.Spec.Egress[0].To; len(peers) != 1 || peers[0].IPBlock == nil {
			t.Errorf("%s of own-stores leads to %+v, want a network", tt.out, peers)
		}
	}
}

// TestStoresOfCI reads what .ci/cluster applies in the place of stores: servers on the machine itself, without TLS.
func TestStoresOfCI(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stores.yaml")
	script := exec.CommandContext(t.Context(), "bash", "-euc", `NODE_IP=192.0.2.1 MYSQL_TEST_PORT=1 MONGO_TEST_PORT=2
AMQP_TEST_PORT=3 work=$1; eval "$(sed -n '/^service() {/,/^}/p; /stores.yaml"$/p' .ci/cluster)"`,
		"bash", filepath.Dir(file))
	script.Dir = ".."
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	objects := decode(t, file)
	if got := find[*corev1.ConfigMap](t, objects, "stores").Data["STORES_PLAIN"]; got != "true" {
		t.Errorf("STORES_PLAIN = %q, want true", got)
	}
	for name, port := range map[string]int32{"mysql": 1, "mongodb": 2, "rabbitmq": 3} {
		find[*corev1.Service](t, objects, name)
		to := find[*networkingv1.NetworkPolicy](t, objects, "to-"+name).Spec.Egress[0]
		if to.To[0].IPBlock.CIDR != "192.0.2.1/32" || to.Ports[0].Port.IntVal != port {
			t.Errorf("functions may go to %+v for %s, want 192.0.2.1, port %d", to, name, port)
		}
	}
}

// names are those of the pods that a selector selects.
func names(s *metav1.LabelSelector) []string {
	if name := s.MatchLabels["app.kubernetes.io/name"]; name != "" {
		return []string{name}
	}
	return s.MatchExpressions[0].Values
}

func triggers(t *testing.T, objects tree) broker.Triggers {
	t.Helper()
	ts, err := broker.ParseTriggers([]byte(find[*corev1.ConfigMap](t, objects, "triggers").Data["triggers.yaml"]))
	if err != nil {
		t.Fatalf("ParseTriggers() = %v", err)
	}
	return ts
}

func trigger(t *testing.T, objects tree, name string) broker.Trigger {
	t.Helper()
	ts := triggers(t, objects)
	i := slices.IndexFunc(ts, func(t broker.Trigger) bool { return t.Name == name })
	if i < 0 {
		t.Fatalf("there is no trigger %s", name)
	}
	return ts[i]
}

// serviceOf gives the service that a URL within the cluster names.
func serviceOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(u.Host, local)
}
