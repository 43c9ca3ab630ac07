package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
)

// document sees whether exchanges are as the OpenAPI document says.
type document struct {
	mu           sync.Mutex
	all, headers validator.Validator // headers leaves the bodies of answers out
}

var openAPI = sync.OnceValues(func() (*document, error) {
	text, err := os.ReadFile("../gateway/openapi.yaml")
	if err != nil {
		return nil, err
	}
	d := &document{}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	for v, more := range map[*validator.Validator][]config.Option{
		&d.all: nil, &d.headers: {config.WithoutResponseBodyValidation()},
	} {
		var errs []error
		// Videos are not read into memory, and programs check tokens themselves.
		all := append(more, config.WithoutRequestBodyValidation(), config.WithoutSecurityValidation())
		if *v, errs = validator.NewValidator(doc, all...); len(errs) > 0 {
			return nil, errs[0]
		}
	}
	return d, nil
})

// faults gives what of an exchange is not as the document says. A request that is refused may be any.
func (d *document) faults(r *http.Request, res *http.Response) (faults []*errors.ValidationError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.all
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if r.Method == http.MethodHead || media != "application/json" && media != "application/problem+json" {
		v = d.headers
	} else {
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		defer func() { res.Body = io.NopCloser(bytes.NewReader(body)) }()
		res.Body = io.NopCloser(bytes.NewReader(body))
	}
	if res.StatusCode < 400 {
		bare := r.Clone(r.Context())
		bare.Body = http.NoBody
		_, faults = v.ValidateHttpRequestSync(bare)
	}
	_, of := v.ValidateHttpResponse(r, res)
	return append(faults, of...)
}

// described is a proxy in front of a program. It fails the test when an exchange is not as the OpenAPI document says.
func described(t testing.TB, to string) string {
	t.Helper()
	d, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
		},
		ModifyResponse: func(res *http.Response) error {
			r := res.Request
			if r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/mailbox") || strings.HasSuffix(r.URL.Path, "z") {
				return nil // pages and probes are not of the API
			}
			for _, f := range d.faults(r, res) {
				if res.StatusCode == http.StatusNotFound && f.IsPathMissingError() {
					continue // there is no such route
				}
				t.Errorf("%s %s = %s %v is not as the OpenAPI document says: %s: %s", r.Method, r.URL, res.Status,
					res.Header, f.Message, f.Reason)
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}
