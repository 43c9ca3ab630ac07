package eventing_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
)

// got is an event as a table writes it down.
type got struct {
	ID, Source, Type, Subject, ContentType, Data string
	Extensions                                   map[string]any
}

func gotOf(e event.Event) got {
	return got{e.ID(), e.Source(), e.Type(), e.Subject(), e.DataContentType(), string(e.Data()), e.Extensions()}
}

// message is an HTTP request as it goes over the wire, without the request line and Content-Length.
func message(body string, header ...string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n\r\n%s", len(body),
		strings.Join(header, "\r\n"), body)
}

// exchange writes a request to the server byte by byte as it is, since net/http's client would not send some of the
// tables' headers.
func exchange(t *testing.T, s *httptest.Server, request string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer to %.200q: %v", request, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	version  = "ce-specversion: 1.0"
	id       = "ce-id: A-1"
	source   = "ce-source: /mycontext"
	typ      = "ce-type: com.example.someevent"
	jsonType = "Content-Type: application/json"
)

// TestBinaryMode is the HTTP Protocol Binding 1.0.2, section 3.1.
func TestBinaryMode(t *testing.T) {
	t.Parallel()
	plain := got{ID: "A-1", Source: "/mycontext", Type: "com.example.someevent"}
	with := func(f func(*got)) got {
		g := plain
		f(&g)
		return g
	}
	for _, tt := range []struct {
		name   string
		header []string
		body   string
		want   got
		status int    // of a refusal
		detail string // in a refusal
	}{
		{name: "required attributes only", header: []string{version, id, source, typ}, want: plain},
		{name: "data and its type",
			header: []string{version, id, source, typ, "Content-Type: application/json; charset=utf-8"}, body: `{"a":1}`,
			want: with(func(g *got) { g.ContentType, g.Data = "application/json; charset=utf-8", `{"a":1}` })},
		{name: "empty body with a type", header: []string{version, id, source, typ, jsonType},
			want: with(func(g *got) { g.ContentType = "application/json" })},
		{name: "data that is no JSON", header: []string{version, id, source, typ, "Content-Type: image/png"},
			body: "\x89PNG\x00",
			want: with(func(g *got) { g.ContentType, g.Data = "image/png", "\x89PNG\x00" })},
		{name: "header names in any case",
			header: []string{"CE-SPECVERSION: 1.0", "Ce-ID: A-1", "cE-sOURCE: /mycontext", typ}, want: plain},
		{name: "extensions", header: []string{version, id, source, typ, "ce-comExample9: x"},
			want: with(func(g *got) { g.Extensions = map[string]any{"comexample9": "x"} })},
		{name: "the spec's example of percent-encoding",
			header: []string{version, id, source, typ, "ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80"},
			want:   with(func(g *got) { g.Subject = "Euro € 😀" })},
		{name: "lower-case percent-encoding", header: []string{version, id, source, typ, "ce-subject: %e2%82%ac"},
			want: with(func(g *got) { g.Subject = "€" })},
		{name: "needless percent-encoding", header: []string{version, id, source, typ, "ce-subject: %41%2d%31"},
			want: with(func(g *got) { g.Subject = "A-1" })},
		{name: "one round of decoding", header: []string{version, id, source, typ, "ce-subject: 100%2525"},
			want: with(func(g *got) { g.Subject = "100%25" })},
		{name: "plus is no space", header: []string{version, id, source, typ, "ce-subject: a+b"},
			want: with(func(g *got) { g.Subject = "a+b" })},
		{name: "quoted", header: []string{version, id, source, typ, `ce-subject: "a b"`},
			want: with(func(g *got) { g.Subject = "a b" })},
		{name: "quoted with escapes", header: []string{version, id, source, typ, `ce-subject: "a \"b\" \\ %20c"`},
			want: with(func(g *got) { g.Subject = `a "b" \  c` })},
		{name: "quoted escape of a letter", header: []string{version, id, source, typ, `ce-subject: "\a\\\b"`},
			want: with(func(g *got) { g.Subject = `a\b` })},
		{name: "quotes inside are no quoting", header: []string{version, id, source, typ, `ce-subject: a"b"`},
			want: with(func(g *got) { g.Subject = `a"b"` })},
		{name: "one lone quote", header: []string{version, id, source, typ, `ce-subject: "`},
			want: with(func(g *got) { g.Subject = `"` })},
		{name: "unencoded space", header: []string{version, id, source, typ, "ce-subject: a b"},
			want: with(func(g *got) { g.Subject = "a b" })},
		{name: "white space around", header: []string{version, "ce-id:  \t A-1  ", source, typ}, want: plain},
		{name: "empty subject is none", header: []string{version, id, source, typ, "ce-subject:"}, want: plain},

		{name: "no headers at all", body: "{}", status: 400, detail: "no CloudEvent"},
		{name: "no specversion", header: []string{id, source, typ}, status: 400, detail: "no CloudEvent"},
		{name: "no id", header: []string{version, source, typ}, status: 400, detail: "id: "},
		{name: "no source", header: []string{version, id, typ}, status: 400, detail: "source: "},
		{name: "no type", header: []string{version, id, source}, status: 400, detail: "type: "},
		{name: "no id, source and type", header: []string{version}, status: 400, detail: "type: "},
		{name: "empty id", header: []string{version, "ce-id:", source, typ}, status: 400, detail: "id"},
		{name: "id of encoded spaces", header: []string{version, "ce-id: %20", source, typ}, status: 400, detail: "id"},
		{name: "empty source", header: []string{version, id, "ce-source:", typ}, status: 400, detail: "source"},
		{name: "empty type", header: []string{version, id, source, "ce-type:"}, status: 400, detail: "type"},
		{name: "source that is no URI", header: []string{version, id, "ce-source: %25zz", typ}, status: 400,
			detail: "cannot be read"},
		{name: "specversion of yesterday", header: []string{"ce-specversion: 0.3", id, source, typ}, status: 400,
			detail: `"0.3"`},
		{name: "specversion of tomorrow", header: []string{"ce-specversion: 2.0", id, source, typ}, status: 400,
			detail: `"2.0"`},
		{name: "specversion with a patch", header: []string{"ce-specversion: 1.0.2", id, source, typ}, status: 400,
			detail: `"1.0.2"`},
		{name: "ce-datacontenttype", header: []string{version, id, source, typ, "ce-datacontenttype: text/xml"}, status: 400,
			detail: "datacontenttype"},
		{name: "extension with a dash", header: []string{version, id, source, typ, "ce-my-ext: x"}, status: 400,
			detail: "cannot be read"},
		{name: "extension with an underscore", header: []string{version, id, source, typ, "ce-my_ext: x"}, status: 400,
			detail: "cannot be read"},
		{name: "extension without a name", header: []string{version, id, source, typ, "ce-: x"}, status: 400,
			detail: "names no attribute"},
		{name: "attribute twice", header: []string{version, id, "ce-id: A-2", source, typ}, status: 400,
			detail: "given 2 times"},
		{name: "the same attribute twice", header: []string{version, id, id, source, typ}, status: 400,
			detail: "given 2 times"},
		{name: "extension twice", header: []string{version, id, source, typ, "ce-ext: x", "ce-ext: x"}, status: 400,
			detail: "given 2 times"},
		{name: "content type twice", header: []string{version, id, source, typ, jsonType, "Content-Type: text/xml"},
			status: 400, detail: "given 2 times"},
		{name: "time that is none", header: []string{version, id, source, typ, "ce-time: yesterday"}, status: 400,
			detail: "cannot be read"},
		{name: "lone percent", header: []string{version, id, source, typ, "ce-subject: 100%"}, status: 400,
			detail: "ce-subject"},
		{name: "percent without hex", header: []string{version, id, source, typ, "ce-subject: %zz"}, status: 400,
			detail: "ce-subject"},
		{name: "overlong UTF-8", header: []string{version, id, source, typ, "ce-subject: %C0%A0"}, status: 400,
			detail: "not UTF-8"},
		{name: "Latin-1", header: []string{version, id, source, typ, "ce-subject: caf\xe9"}, status: 400,
			detail: "not UTF-8"},
		{name: "encoded line break in the id", header: []string{version, "ce-id: A%0D%0ABcc:%20x", source, typ}, status: 400,
			detail: "control character"},
		{name: "encoded NUL in an extension", header: []string{version, id, source, typ, "ce-ext: %00"}, status: 400,
			detail: "control character"},
		{name: "unknown event format", header: []string{"Content-Type: application/cloudevents+avro"}, body: "x", status: 415,
			detail: "application/cloudevents+json"},
		{name: "the bare media type", header: []string{"Content-Type: Application/CloudEvents"}, body: "{}", status: 415,
			detail: "application/cloudevents+json"},
		{name: "too large", header: []string{version, id, source, typ}, body: strings.Repeat("x", eventing.MaxEvent+1),
			status: 413, detail: "larger than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			receive(t, message(tt.body, tt.header...), tt.want, tt.status, tt.detail)
		})
	}
}

// TestStructuredMode is the HTTP Protocol Binding 1.0.2, sections 3.2 and 3.3, with the JSON Event Format 1.0.2.
func TestStructuredMode(t *testing.T) {
	t.Parallel()
	const structured = "Content-Type: application/cloudevents+json"
	const attrs = `"specversion":"1.0","id":"A-1","source":"/mycontext","type":"com.example.someevent"`
	plain := got{ID: "A-1", Source: "/mycontext", Type: "com.example.someevent"}
	with := func(f func(*got)) got {
		g := plain
		f(&g)
		return g
	}
	for _, tt := range []struct {
		name   string
		header []string
		body   string
		want   got
		status int
		detail string
	}{
		{name: "required attributes only", body: `{` + attrs + `}`, want: plain},
		{name: "charset", header: []string{structured + "; charset=UTF-8"}, body: `{` + attrs + `}`, want: plain},
		{name: "media type in any case", header: []string{"content-type: Application/CloudEvents+JSON"},
			body: `{` + attrs + `}`, want: plain},
		{name: "JSON data", body: `{` + attrs + `,"datacontenttype":"application/json","data":{"a":[1, 2]}}`,
			want: with(func(g *got) { g.ContentType, g.Data = "application/json", `{"a":[1, 2]}` })},
		{name: "JSON data without a type", body: `{"data":{"a":1},` + attrs + `}`,
			want: with(func(g *got) { g.Data = `{"a":1}` })},
		{name: "text data", body: `{` + attrs + `,"datacontenttype":"text/plain","data":"a\nb"}`,
			want: with(func(g *got) { g.ContentType, g.Data = "text/plain", "a\nb" })},
		{name: "base64 data", body: `{` + attrs + `,"datacontenttype":"application/octet-stream","data_base64":"AAH/"}`,
			want: with(func(g *got) { g.ContentType, g.Data = "application/octet-stream", "\x00\x01\xff" })},
		{name: "base64 data first", body: `{"data_base64":"AAH/",` + attrs + `}`,
			want: with(func(g *got) { g.Data = "\x00\x01\xff" })},
		{name: "base64 of JSON", body: `{` + attrs + `,"datacontenttype":"application/json","data_base64":"e30="}`,
			want: with(func(g *got) { g.ContentType, g.Data = "application/json", "{}" })},
		{name: "non-ASCII", body: `{` + attrs + `,"subject":"Euro € \ud83d\ude00 100%25"}`,
			want: with(func(g *got) { g.Subject = "Euro € 😀 100%25" })},
		{name: "extensions", body: `{` + attrs + `,"num":5,"flag":true,"word":"x"}`,
			want: with(func(g *got) { g.Extensions = map[string]any{"num": int32(5), "flag": true, "word": "x"} })},
		{name: "headers beside it do not count", header: []string{structured, version, "ce-id: other", source, typ},
			body: `{` + attrs + `}`, want: plain},

		{name: "empty body", status: 400, detail: "cannot be read"},
		{name: "bad JSON", body: `{` + attrs, status: 400, detail: "cannot be read"},
		{name: "rest behind the JSON", body: `{` + attrs + `} x`, status: 400, detail: "cannot be read"},
		{name: "an array", body: `[{` + attrs + `}]`, status: 400, detail: "cannot be read"},
		{name: "a string", body: `"x"`, status: 400, detail: "cannot be read"},
		{name: "null", body: `null`, status: 400, detail: "cannot be read"},
		{name: "no specversion", body: `{"id":"A-1","source":"/mycontext","type":"x"}`, status: 400, detail: "specversion"},
		{name: "wrong specversion", body: `{"specversion":"0.3","id":"A-1","source":"/mycontext","type":"x"}`, status: 400,
			detail: `"0.3"`},
		{name: "no id", body: `{"specversion":"1.0","source":"/mycontext","type":"x"}`, status: 400, detail: "id: "},
		{name: "empty id", body: `{"specversion":"1.0","id":"","source":"/mycontext","type":"x"}`, status: 400,
			detail: "id: "},
		{name: "id is a number", body: `{"specversion":"1.0","id":1,"source":"/mycontext","type":"x"}`, status: 400,
			detail: "cannot be read"},
		{name: "extension with a dash", body: `{` + attrs + `,"my-ext":"x"}`, status: 400, detail: "cannot be read"},
		{name: "extension is an object", body: `{` + attrs + `,"ext":{}}`, status: 400, detail: "cannot be read"},
		{name: "line break in the id", body: `{"specversion":"1.0","id":"A\r\nBcc: x","source":"/mycontext","type":"x"}`,
			status: 400, detail: "control character"},
		{name: "base64 that is none", body: `{` + attrs + `,"data_base64":"*"}`, status: 400, detail: "cannot be read"},
		{name: "base64 is a digit", body: `{` + attrs + `,"data_base64":1}`, status: 400, detail: "cannot be read"},
		{name: "text data that is no string", body: `{` + attrs + `,"datacontenttype":"text/plain","data":{}}`, status: 400,
			detail: "cannot be read"},
		{name: "batch", header: []string{"Content-Type: application/cloudevents-batch+json"}, body: `[{` + attrs + `}]`,
			status: 415, detail: "batched"},
		{name: "empty batch with charset",
			header: []string{"Content-Type: application/cloudevents-batch+json; charset=utf-8"}, body: `[]`,
			status: 415, detail: "batched"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.header == nil {
				tt.header = []string{structured}
			}
			receive(t, message(tt.body, tt.header...), tt.want, tt.status, tt.detail)
		})
	}
}

// receive sends a request to a function and compares what the function was given, or how the request was refused.
func receive(t *testing.T, request string, want got, status int, detail string) {
	t.Helper()
	var e *event.Event
	s := httptest.NewServer(eventing.Func(func(_ context.Context, in event.Event) (*event.Event, error) {
		e = &in
		return nil, nil
	}))
	defer s.Close()
	resp := exchange(t, s, request)
	body := text(t, resp.Body)
	if status != 0 {
		if resp.StatusCode != status || !strings.Contains(body, detail) || e != nil {
			t.Errorf("answer = %d %q, called = %v, want %d with %q, not called", resp.StatusCode, body, e != nil, status, detail)
		}
		return
	}
	if resp.StatusCode != http.StatusNoContent || e == nil {
		t.Fatalf("answer = %d %q, called = %v, want 204, called", resp.StatusCode, body, e != nil)
	}
	if diff := cmp.Diff(want, gotOf(*e)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestOtherMethods(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		w := httptest.NewRecorder()
		eventing.Func(nil).ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s = %d, Allow %q, want 405, POST", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestBodyBreaksOff(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("{"), errReader{}))
	r.Header.Set("Content-Type", "application/cloudevents+json")
	w := httptest.NewRecorder()
	eventing.Func(nil).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("answer = %d, want 400", w.Code)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestReplyInModeOfRequest also reads each reply with the client's half of the binding.
func TestReplyInModeOfRequest(t *testing.T) {
	t.Parallel()
	reply := event.New()
	reply.SetID("ü 100%\"")
	reply.SetSource("/soundstrip/convert")
	reply.SetType("reply")
	reply.SetSubject("Euro € 😀")
	if err := reply.SetData(event.ApplicationJSON, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(eventing.Func(func(context.Context, event.Event) (*event.Event, error) {
		e := reply.Clone()
		return &e, nil
	}))
	defer s.Close()

	binary := exchange(t, s, message("", version, id, source, typ))
	for k, want := range map[string]string{
		"Ce-Id": "%C3%BC%20100%25%22", "Ce-Subject": "Euro%20%E2%82%AC%20%F0%9F%98%80", "Ce-Source": "/soundstrip/convert",
		"Ce-Specversion": "1.0", "Content-Type": "application/json",
	} {
		if v := binary.Header.Get(k); v != want {
			t.Errorf("header %s = %q, want %q", k, v, want)
		}
	}
	structured := exchange(t, s,
		message(`{"specversion":"1.0","id":"1","source":"/","type":"t"}`, "Content-Type: application/cloudevents+json"))
	if ct := structured.Header.Get("Content-Type"); ct != "application/cloudevents+json" ||
		structured.Header.Get("Ce-Id") != "" {
		t.Errorf("Content-Type = %q, ce-id = %q, want the event in the body alone", ct, structured.Header.Get("Ce-Id"))
	}
	for _, resp := range []*http.Response{binary, structured} {
		e, err := eventing.Reply(resp)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("Reply = %v, status %d", err, resp.StatusCode)
		}
		g := gotOf(*e)
		if _, ok := g.Extensions["traceparent"]; !ok {
			t.Error("the reply carries no traceparent")
		}
		g.Extensions = nil
		want := got{ID: "ü 100%\"", Source: "/soundstrip/convert", Type: "reply", Subject: "Euro € 😀",
			ContentType: "application/json", Data: `{"a":1}`}
		if diff := cmp.Diff(want, g); diff != "" {
			t.Errorf("reply (-want +got):\n%s", diff)
		}
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	response := func(body string, header ...string) *http.Response {
		resp := &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		for _, h := range header {
			k, v, _ := strings.Cut(h, ": ")
			resp.Header.Add(k, v)
		}
		return resp
	}
	for _, tt := range []struct {
		name     string
		resp     *http.Response
		has, bad bool
	}{
		{name: "nothing", resp: response("")},
		{name: "a page", resp: response("ok", "Content-Type: text/plain")},
		{name: "an event", resp: response("", version, id, source, typ), has: true},
		{name: "half an event", resp: response("", version, id), bad: true},
		{name: "an attribute twice", resp: response("", version, id, id, source, typ), bad: true},
		{name: "too large", resp: response(strings.Repeat("x", eventing.MaxEvent+1)), bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := eventing.Reply(tt.resp)
			if (e != nil) != tt.has || (err != nil) != tt.bad {
				t.Errorf("Reply = %v, %v, want an event: %v, an error: %v", e, err, tt.has, tt.bad)
			}
		})
	}
}

// incoming makes of a client's request the one that a server sees.
func incoming(r *http.Request) *http.Request {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// TestRoundTrip sends what the sender encodes to what the receiver decodes.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"a", " a b ", `"`, `"q"`, `\`, "%", "%41", "é", "日本", "😀", "a\tb", "~!", "\u00a0"} {
		e := event.New()
		e.SetID("1")
		e.SetSource("/a%20b")
		e.SetType("t")
		e.SetExtension("ext", subject)
		r, err := eventing.NewRequest(t.Context(), "http://x/", e)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range r.Header {
			for _, c := range []byte(v[0]) {
				if strings.HasPrefix(k, "Ce-") && (c <= ' ' || c >= 0x7f || c == '"') {
					t.Errorf("header %s = %q has byte %#x", k, v[0], c)
				}
			}
		}
		back, _, err := eventing.Receive(incoming(r))
		if strings.Contains(subject, "\t") {
			if err == nil {
				t.Errorf("Receive took the control character of %q", subject)
			}
			continue
		}
		if err != nil {
			t.Fatalf("Receive of %q = %v", subject, err)
		}
		if v := back.Extensions()["ext"]; v != subject || back.Source() != "/a%20b" {
			t.Errorf("round trip of %q = %q, source %q", subject, v, back.Source())
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	cause := errors.New("the cause, with a password")
	for _, tt := range []struct {
		name   string
		err    error
		status int
		after  string
		tells  bool // whether the sender reads the cause
	}{
		{name: "plain", err: cause, status: 500},
		{name: "passing", err: eventing.RetryAfter(1500*time.Millisecond, cause), status: 503, after: "2"},
		{name: "busy", err: eventing.Busy(30*time.Second, cause), status: 409, after: "30", tells: true},
		{name: "rejected", err: eventing.Reject(cause), status: 400, tells: true},
		{name: "wrapped", err: fmt.Errorf("more: %w", eventing.Reject(cause)), status: 400, tells: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(eventing.Func(func(context.Context, event.Event) (*event.Event, error) {
				return nil, tt.err
			}))
			defer s.Close()
			resp := exchange(t, s, message("", version, id, source, typ))
			body := text(t, resp.Body)
			if resp.StatusCode != tt.status || resp.Header.Get("Retry-After") != tt.after ||
				strings.Contains(body, "password") != tt.tells {
				t.Errorf("answer = %d, Retry-After %q, %q, want %d, %q, cause told: %v", resp.StatusCode,
					resp.Header.Get("Retry-After"), body, tt.status, tt.after, tt.tells)
			}
		})
	}
}

func TestRetryAfterOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"7", 7 * time.Second}, {"1.5", 1500 * time.Millisecond}, {"-1", 0}, {"NaN", 0}, {"1e300", 0},
		{"Inf", 0}, {"soon", 0},
		{"Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second}, {"Fri, 02 Jan 2026 03:04:00 GMT", 0},
	} {
		if d := eventing.RetryAfterOf(http.Header{"Retry-After": {tt.value}}, now); d != tt.want {
			t.Errorf("RetryAfterOf(%q) = %v, want %v", tt.value, d, tt.want)
		}
	}
}

func TestIsEvent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header, value string
		want          bool
	}{
		{"Ce-Specversion", "1.0", true}, {"Content-Type", "application/cloudevents+json", true},
		{"Content-Type", "Application/CloudEvents-batch+json", true},
		{"Content-Type", "application/json", false}, {"Ce-Id", "1", false},
	} {
		if is := eventing.IsEvent(&http.Request{Header: http.Header{tt.header: {tt.value}}}); is != tt.want {
			t.Errorf("IsEvent(%s: %s) = %v, want %v", tt.header, tt.value, is, tt.want)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"A-1","source":"/","type":"t","data":{"a":1}}`)
	f.Add("application/cloudevents+json", "",
		`{"data_base64":"AAH/","specversion":"1.0","id":"A-1","source":"/","type":"t","x":1}`)
	f.Add("application/json", `"a \"b\" %E2%82%AC"`, `{}`)
	f.Fuzz(func(t *testing.T, contentType, value, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {contentType}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/"},
			"Ce-Type": {"t"}, "Ce-Subject": {value}}
		e, mode, err := eventing.Receive(r)
		if err != nil {
			return
		}
		again, err := eventing.NewRequest(t.Context(), "http://x/", e)
		if err != nil {
			t.Fatalf("event in mode %v, %v, cannot be sent on: %v", mode, e, err)
		}
		back, _, err := eventing.Receive(incoming(again))
		if err != nil {
			t.Fatalf("event %v sent on cannot be received: %v", e, err)
		}
		if back.Subject() != e.Subject() || back.ID() != e.ID() || !bytes.Equal(back.Data(), e.Data()) {
			t.Errorf("sent on: %v, want %v", back, e)
		}
	})
}
