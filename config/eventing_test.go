package config_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/soundstrip/soundstrip/eventing/broker"
)

// The objects of Knative Eventing have here the fields that their CustomResourceDefinitions name, as far as config uses
// them, since the module knative.dev/eventing is not needed for anything else:
// https://github.com/knative/eventing/tree/release-1.15/config/core/resources and
// https://github.com/knative-extensions/eventing-rabbitmq/blob/release-1.15/config/broker/300-rabbitmqbrokerconfig.yaml
type (
	reference struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Namespace  string `json:"namespace"`
		Name       string `json:"name"`
	}
	destination struct {
		Ref reference `json:"ref"`
	}
	rabbitmqBrokerConfig struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			QueueType                string `json:"queueType"`
			RabbitmqClusterReference struct {
				Namespace        string                      `json:"namespace"`
				ConnectionSecret corev1.LocalObjectReference `json:"connectionSecret"`
			} `json:"rabbitmqClusterReference"`
		} `json:"spec"`
	}
	knativeBroker struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Config reference `json:"config"`
		} `json:"spec"`
	}
	knativeTrigger struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Broker string `json:"broker"`
			Filter struct {
				Attributes map[string]string `json:"attributes"`
			} `json:"filter"`
			Subscriber destination `json:"subscriber"`
			Delivery   struct {
				Retry         int             `json:"retry"`
				BackoffPolicy string          `json:"backoffPolicy"`
				BackoffDelay  broker.Duration `json:"backoffDelay"`
				Timeout       broker.Duration `json:"timeout"`
			} `json:"delivery"`
		} `json:"spec"`
	}
	sinkBinding struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Subject struct {
				APIVersion string                `json:"apiVersion"`
				Kind       string                `json:"kind"`
				Name       string                `json:"name"`
				Selector   *metav1.LabelSelector `json:"selector"`
			} `json:"subject"`
			Sink destination `json:"sink"`
		} `json:"spec"`
	}
)

func TestKnativeTriggersAreOurs(t *testing.T) {
	t.Parallel()
	objects := load(t)
	brokers := int(*find[*appsv1.Deployment](t, objects, "broker").Spec.Replicas)
	type trigger struct {
		Type, Subscriber      string
		Parallelism, Retry    int
		Policy                string
		BackoffDelay, Timeout time.Duration
	}
	want, got := map[string]trigger{}, map[string]trigger{}
	for _, ours := range triggers(t, objects) {
		want[ours.Name] = trigger{
			Type:         ours.Filter.Attributes["type"],
			Subscriber:   serviceOf(t, ours.Subscriber),
			Parallelism:  brokers * ours.Parallelism,
			Retry:        *ours.Delivery.Retry,
			Policy:       ours.Delivery.BackoffPolicy,
			BackoffDelay: time.Duration(ours.Delivery.BackoffDelay),
			Timeout:      time.Duration(ours.Delivery.Timeout),
		}
	}
	for _, theirs := range all[*knativeTrigger](decode(t, "knative-eventing/100-triggers.yaml")) {
		parallelism, err := strconv.Atoi(theirs.Annotations["rabbitmq.eventing.knative.dev/parallelism"])
		if err != nil {
			t.Errorf("parallelism of %s: %v", theirs.Name, err)
		}
		to := theirs.Spec.Subscriber.Ref
		ours := reference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Namespace: namespace, Name: to.Name}
		if to != ours {
			t.Errorf("subscriber of %s = %+v, want a Knative Service of ours", theirs.Name, to)
		}
		got[theirs.Name] = trigger{
			Type:         theirs.Spec.Filter.Attributes["type"],
			Subscriber:   theirs.Spec.Subscriber.Ref.Name,
			Parallelism:  parallelism,
			Retry:        theirs.Spec.Delivery.Retry,
			Policy:       theirs.Spec.Delivery.BackoffPolicy,
			BackoffDelay: time.Duration(theirs.Spec.Delivery.BackoffDelay),
			Timeout:      time.Duration(theirs.Spec.Delivery.Timeout),
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("triggers (-ours +Knative's):\n%s", diff)
	}
}

func TestKnativeBrokerIsWhereEventsGo(t *testing.T) {
	t.Parallel()
	objects := decode(t, "knative-eventing/000-broker.yaml")
	b := all[*knativeBroker](objects)[0]
	config := reference{
		APIVersion: "eventing.knative.dev/v1alpha1", Kind: "RabbitmqBrokerConfig",
		Namespace: b.Namespace, Name: find[*rabbitmqBrokerConfig](t, objects, b.Name).Name,
	}
	if b.Annotations["eventing.knative.dev/broker.class"] != "RabbitMQBroker" || b.Spec.Config != config {
		t.Errorf("broker = %+v, want RabbitMQ's with the config %+v", b, config)
	}
	for _, trigger := range all[*knativeTrigger](decode(t, "knative-eventing/100-triggers.yaml")) {
		if got := trigger.Spec.Broker; got != b.Name || trigger.Namespace != b.Namespace {
			t.Errorf("trigger %s is of %s/%s, want %s/%s", trigger.Name, trigger.Namespace, got, b.Namespace, b.Name)
		}
	}
	var bound []string
	for _, s := range all[*sinkBinding](decode(t, "knative-eventing/200-senders.yaml")) {
		bound = append(bound, s.Name)
		want := reference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Namespace: b.Namespace, Name: b.Name}
		if s.Spec.Sink.Ref != want || s.Namespace != namespace {
			t.Errorf("%s/%s is bound to %+v, want %+v", s.Namespace, s.Name, s.Spec.Sink.Ref, want)
		}
	}
	var senders []string
	ours := load(t)
	for _, p := range ours.pods() {
		if _, ok := ours.variables(t, p.spec.Containers[0])["K_SINK"]; ok {
			senders = append(senders, p.name)
		}
	}
	slices.Sort(bound)
	slices.Sort(senders)
	if !slices.Equal(bound, senders) {
		t.Errorf("bound are %q, want those that K_SINK is given to, %q", bound, senders)
	}
}
