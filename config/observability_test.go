package config_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// serviceMonitor and prometheusRule are of Prometheus's operator, whose module is not served with all that it needs.
type serviceMonitor struct {
	metav1.TypeMeta
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	metav1.TypeMeta
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func loadObservability(t *testing.T) (objects tree) {
	t.Helper()
	for _, file := range []string{"100-networkpolicies", "200-servicemonitor", "300-alerts", "400-dashboard"} {
		objects = append(objects, decode(t, filepath.Join("observability", file+".yaml"))...)
	}
	return objects
}

var (
	// notNames are the parts of a query in which what looks like a metric is none.
	notNames = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(by|without|on|ignoring) *\([^)]*\)`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	// functions and operators that our queries use.
	functions = []string{"absent", "and", "histogram_quantile", "increase", "max", "min", "rate", "sum", "time"}
	// others are metrics of other programs: cert-manager's.
	others = []string{"certmanager_certificate_expiration_timestamp_seconds"}
)

// TestMetricsExist: a query that names no metric of ours finds nothing, and nobody is told.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	known := slices.Concat(functions, others)
	for _, m := range telemetry.Metrics() {
		names := []string{m.Series()}
		if m.Kind == telemetry.Seconds {
			names = []string{m.Series() + "_bucket", m.Series() + "_sum", m.Series() + "_count"}
		}
		known = append(known, names...)
	}
	objects, queries := loadObservability(t), map[string]string{}
	for _, g := range find[*prometheusRule](t, objects, "soundstrip").Spec.Groups {
		for _, r := range g.Rules {
			queries[r.Alert] = r.Expr
			if r.Annotations["summary"] == "" || r.Annotations["todo"] == "" || r.Labels["severity"] == "" || r.For == "" {
				t.Errorf("alert %s says too little: %+v", r.Alert, r)
			}
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text := find[*corev1.ConfigMap](t, objects, "dashboard").Data["soundstrip.json"]
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries[p.Title+": "+target.Expr] = target.Expr
		}
	}
	if len(queries) < 20 {
		t.Fatalf("there are %d queries, want those of alerts and dashboard", len(queries))
	}
	for title, query := range queries {
		for _, name := range word.FindAllString(notNames.ReplaceAllString(query, " "), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: there is no metric %s", title, name)
			}
		}
	}
}

// TestServiceMonitorFindsTheBroker by the labels and the port of its Service.
func TestServiceMonitorFindsTheBroker(t *testing.T) {
	t.Parallel()
	service := find[*corev1.Service](t, load(t), "broker")
	m := find[*serviceMonitor](t, loadObservability(t), "broker")
	selector, err := metav1.LabelSelectorAsMap(&m.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range selector {
		if service.Labels[name] != value {
			t.Errorf("label %s of the Service is %q, want %q", name, service.Labels[name], value)
		}
	}
	for _, e := range m.Spec.Endpoints {
		if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
			t.Errorf("the Service has no port %s", e.Port)
		}
	}
}

// TestAlerts has promtool check the rules, and run them on the series in alerts.test.yaml.
func TestAlerts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	dir := t.TempDir()
	rules, err := yaml.Marshal(find[*prometheusRule](t, loadObservability(t), "soundstrip").Spec)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("observability/alerts.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rules.yaml": rules, "tests.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}
