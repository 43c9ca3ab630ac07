package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// span is one of OTLP's, with the process that it is of.
type span struct {
	TraceID, SpanID, ParentSpanID, Name string
	Kind                                int
	Links                               []struct{ TraceID, SpanID string }
	Status                              struct{ Code int }

	service string
}

// collector keeps the spans that it is sent.
type collector struct {
	mu    sync.Mutex
	spans []span
}

func newCollector(t *testing.T) (*collector, map[string]string) {
	t.Helper()
	c := new(collector)
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": s.URL, "OTEL_BSP_SCHEDULE_DELAY": "200"}
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/traces" {
		return
	}
	var request struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value struct{ StringValue string }
				}
			}
			ScopeSpans []struct{ Spans []span }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range request.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.StringValue
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				s.service = service
				c.spans = append(c.spans, s)
			}
		}
	}
}

// trace gives what there is of a trace, and how many of its spans have a parent that is not there.
func (c *collector) trace(id string) (spans []span, roots int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[string]bool{}
	for _, s := range c.spans {
		if s.TraceID == id {
			spans = append(spans, s)
			known[s.SpanID] = true
		}
	}
	for _, s := range spans {
		if !known[s.ParentSpanID] {
			roots++
		}
	}
	return spans, roots
}

var traceHeader = regexp.MustCompile(`(?m)^Trace-Id: ([0-9a-f]{32})\r?$`)

// testTrace follows the trace that a mail names, of a job whose first conversion failed: it goes from the upload to the
// mail, and the second try has a link to the first.
func testTrace(t *testing.T, c *collector, mail string) {
	m := traceHeader.FindStringSubmatch(mail)
	if m == nil {
		t.Fatalf("the mail has no Trace-Id: %q", mail)
	}
	want := []string{
		"gateway server POST /upload", "gateway client POST", "upload server POST /upload",
		"upload client findAndModify jobs", "upload client POST", "broker producer send dev.soundstrip.video.uploaded.v1",
		"broker consumer process convert", "broker client POST", "convert internal ffmpeg", "convert client find jobs",
		"broker producer send dev.soundstrip.audio.converted.v1", "broker consumer process notify",
		"notify client send mail",
	}
	kinds := []string{"", "internal", "server", "client", "producer", "consumer"}
	var got []string
	var tries []span
	roots := 0
	defer func() { t.Logf("the trace has %d roots, %d spans:\n%s", roots, len(got), strings.Join(got, "\n")) }()
	eventually(t, "the whole trace", func() bool {
		var spans []span
		spans, roots = c.trace(m[1])
		got, tries = nil, nil
		for _, s := range spans {
			got = append(got, s.service+" "+kinds[s.Kind]+" "+s.Name)
			if s.Name == "process convert" {
				tries = append(tries, s)
			}
		}
		return roots == 1 && len(tries) == 2 &&
			!slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got, w) })
	})
	slices.SortFunc(tries, func(a, b span) int { return b.Status.Code - a.Status.Code }) // the one that failed first
	failed, second := tries[0], tries[1]
	if failed.Status.Code != 2 || second.Status.Code == 2 || len(second.Links) != 1 ||
		second.Links[0].SpanID != failed.SpanID || second.Links[0].TraceID != failed.TraceID ||
		second.ParentSpanID != failed.ParentSpanID {
		t.Errorf("the tries are %+v, want one that failed, and another with a link to it", tries)
	}
}

// testFlushed looks for the first upload's trace when the program has ended: what it had not sent by then is lost.
func testFlushed(t *testing.T, c *collector) {
	t.Helper()
	c.mu.Lock()
	i := slices.IndexFunc(c.spans, func(s span) bool { return s.Name == "POST /upload" })
	id := ""
	if i >= 0 {
		id = c.spans[i].TraceID
	}
	c.mu.Unlock()
	spans, roots := c.trace(id)
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
	}
	for _, want := range []string{"INSERT", "process convert", "ffmpeg", "process notify"} {
		if !slices.Contains(names, want) {
			t.Errorf("the trace of an upload has no %s: %q", want, names)
		}
	}
	if roots != 1 {
		t.Errorf("the trace of an upload has %d spans without a parent, want one", roots)
	}
}
