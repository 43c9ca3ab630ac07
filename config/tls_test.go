package config_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/apis"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
)

// certificate has the fields of cert-manager's that config uses:
// https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Certificate
type certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		SecretName string   `json:"secretName"`
		DNSNames   []string `json:"dnsNames"`
		IssuerRef  struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"issuerRef"`
	} `json:"spec"`
}

// TestTLS sees that the objects of one name agree.
func TestTLS(t *testing.T) {
	t.Parallel()
	objects := append(decode(t, "tls/domain.yaml"), decode(t, "tls/certificate.yaml")...)
	m, c := all[*servingv1beta1.DomainMapping](objects)[0], all[*certificate](objects)[0]
	ctx := apis.WithinCreate(t.Context())
	m.SetDefaults(ctx)
	if err := m.Validate(ctx); err != nil {
		t.Errorf("Validate(%s) = %v", m.Name, err)
	}
	if m.Spec.Ref.Name != "gateway" || m.Namespace != namespace || c.Namespace != namespace {
		t.Errorf("%s leads to %s, in %s and %s, want gateway in %s", m.Name, m.Spec.Ref.Name, m.Namespace, c.Namespace,
			namespace)
	}
	if got := m.Annotations[networking.HTTPProtocolAnnotationKey]; got != "Redirected" {
		t.Errorf("http:// is %q, want Redirected", got)
	}
	if m.Spec.TLS == nil || m.Spec.TLS.SecretName != c.Spec.SecretName {
		t.Errorf("the mapping's TLS is %v, want the certificate's Secret %s", m.Spec.TLS, c.Spec.SecretName)
	}
	for _, o := range objects {
		if _, ok := o.(*certificate); !ok && o.GetName() != c.Spec.DNSNames[0] {
			t.Errorf("%T %s, want the certificate's name %s", o, o.GetName(), c.Spec.DNSNames[0])
		}
	}
}
