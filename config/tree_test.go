package config_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"
	netv1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1b1 "knative.dev/serving/pkg/apis/serving/v1beta1"
	"sigs.k8s.io/yaml"
)

// kinds are those that config may hold: what is not among them, a Secret above all, is refused.
var kinds = map[metav1.TypeMeta]func() metav1.Object{
	{APIVersion: "v1", Kind: "Namespace"}:                                       made[corev1.Namespace],
	{APIVersion: "v1", Kind: "ConfigMap"}:                                       made[corev1.ConfigMap],
	{APIVersion: "v1", Kind: "Service"}:                                         made[corev1.Service],
	{APIVersion: "v1", Kind: "ServiceAccount"}:                                  made[corev1.ServiceAccount],
	{APIVersion: "apps/v1", Kind: "Deployment"}:                                 made[appsv1.Deployment],
	{APIVersion: "apps/v1", Kind: "StatefulSet"}:                                made[appsv1.StatefulSet],
	{APIVersion: "batch/v1", Kind: "CronJob"}:                                   made[batchv1.CronJob],
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:                      made[policyv1.PodDisruptionBudget],
	{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}:                  made[discoveryv1.EndpointSlice],
	{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}:                 made[networkingv1.NetworkPolicy],
	{APIVersion: "serving.knative.dev/v1beta1", Kind: "DomainMapping"}:          made[servingv1b1.DomainMapping],
	{APIVersion: netv1.SchemeGroupVersion.String(), Kind: "ClusterDomainClaim"}: made[netv1.ClusterDomainClaim],
	{APIVersion: "cert-manager.io/v1", Kind: "Certificate"}:                     made[certificate],
	{APIVersion: "serving.knative.dev/v1", Kind: "Service"}:                     made[servingv1.Service],
	{APIVersion: "eventing.knative.dev/v1alpha1", Kind: "RabbitmqBrokerConfig"}: made[rabbitmqBrokerConfig],
	{APIVersion: "eventing.knative.dev/v1", Kind: "Broker"}:                     made[knativeBroker],
	{APIVersion: "eventing.knative.dev/v1", Kind: "Trigger"}:                    made[knativeTrigger],
	{APIVersion: "sources.knative.dev/v1", Kind: "SinkBinding"}:                 made[sinkBinding],
	{APIVersion: "monitoring.coreos.com/v1", Kind: "ServiceMonitor"}:            made[serviceMonitor],
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}:            made[prometheusRule],
}

func made[T any, P interface {
	*T
	metav1.Object
}]() metav1.Object {
	return P(new(T))
}

// tree is all that config holds.
type tree []metav1.Object

// load reads the tree in the order in which it is applied, and fails at what is no known object down to its last field.
func load(t *testing.T) tree {
	t.Helper()
	var objects tree
	for _, dir := range []string{"stores", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("Glob(%s/*.yaml) = %v, %v, want files", dir, files, err)
		}
		for _, file := range files {
			objects = append(objects, decode(t, file)...)
		}
	}
	return objects
}

func decode(t *testing.T, file string) (objects tree) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := kubeyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		object, ok := kinds[kind]
		if !ok {
			t.Fatalf("%s holds %+v, which has no place in config", file, kind)
		}
		o := object()
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			t.Errorf("%s: %s: %v", file, kind.Kind, err)
		}
		objects = append(objects, o)
	}
}

// all gives the objects of one type.
func all[T metav1.Object](objects tree) (of []T) {
	for _, o := range objects {
		if o, ok := o.(T); ok {
			of = append(of, o)
		}
	}
	return of
}

// find gives the object of one type by its name.
func find[T metav1.Object](t *testing.T, objects tree, name string) T {
	t.Helper()
	of := all[T](objects)
	i := slices.IndexFunc(of, func(o T) bool { return o.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %T %s", *new(T), name)
	}
	return of[i]
}

// pod is what runs on account of one object.
type pod struct {
	name    string
	labels  map[string]string
	spec    corev1.PodSpec
	knative bool // Knative forbids some fields, and has defaults of its own
	once    bool // it ends by itself
}

func (objects tree) pods() (pods []pod) {
	for _, o := range all[*appsv1.Deployment](objects) {
		pods = append(pods, pod{name: o.Name, labels: o.Spec.Template.Labels, spec: o.Spec.Template.Spec})
	}
	for _, o := range all[*appsv1.StatefulSet](objects) {
		pods = append(pods, pod{name: o.Name, labels: o.Spec.Template.Labels, spec: o.Spec.Template.Spec})
	}
	for _, o := range all[*batchv1.CronJob](objects) {
		template := o.Spec.JobTemplate.Spec.Template
		pods = append(pods, pod{name: o.Name, labels: template.Labels, spec: template.Spec, once: true})
	}
	for _, o := range all[*servingv1.Service](objects) {
		template := o.Spec.Template
		pods = append(pods, pod{name: o.Name, labels: template.Labels, spec: template.Spec.PodSpec, knative: true})
	}
	return pods
}

// variables are those that a container is given by name, with their values where config has them.
func (objects tree) variables(t *testing.T, c corev1.Container) map[string]string {
	t.Helper()
	given := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef == nil {
			t.Errorf("container of %s: envFrom takes ConfigMaps only: a Secret's keys are named one by one", c.Image)
			continue
		}
		for name, value := range find[*corev1.ConfigMap](t, objects, from.ConfigMapRef.Name).Data {
			given[name] = value
		}
	}
	for _, v := range c.Env {
		value := v.Value
		if v.ValueFrom != nil && v.ValueFrom.ConfigMapKeyRef != nil {
			ref := v.ValueFrom.ConfigMapKeyRef
			data, ok := find[*corev1.ConfigMap](t, objects, ref.Name).Data[ref.Key]
			if !ok {
				t.Errorf("%s: the ConfigMap %s has no %s", v.Name, ref.Name, ref.Key)
			}
			value = data
		}
		given[v.Name] = value
	}
	return given
}
