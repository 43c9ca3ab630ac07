package eventing

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// Binary mode of the CloudEvents HTTP Protocol Binding 1.0.2, section 3.1. The SDK's does not percent-encode.

// attributes are those that e has, by name, and its extensions.
func attributes(e event.Event) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		c := e.Context.AsV1()
		for _, a := range spec.V1.Attributes() {
			if v := a.Get(c); v != nil && !yield(a.Name(), v) {
				return
			}
		}
		for name, v := range c.Extensions {
			if !yield(name, v) {
				return
			}
		}
	}
}

// Attributes has each attribute and extension told as text, but for datacontenttype, which bindings have a place for.
func Attributes(e event.Event, tell func(name, value string)) error {
	for name, v := range attributes(e) {
		if name == datacontenttype {
			continue
		}
		value, err := types.Format(v)
		if err != nil {
			return fmt.Errorf("attribute %s of the event: %w", name, err)
		}
		tell(name, value)
	}
	return nil
}

const datacontenttype = "datacontenttype"

// extension gives one that is a text, or nothing.
func extension(e event.Event, name string) string {
	if e.Context == nil {
		return ""
	}
	s, _ := e.Context.AsV1().Extensions[name].(string)
	return s
}

func encodeBinary(h http.Header, e event.Event) error {
	if ct := e.DataContentType(); ct != "" {
		h.Set("Content-Type", ct)
	}
	return Attributes(e, func(name, value string) { h.Set("Ce-"+name, escape(value)) })
}

// escape percent-encodes the value of a header: all but printable ASCII, and space, double quote and percent (section
// 3.1.3.2).
func escape(v string) string {
	must := func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }
	i := 0
	for i < len(v) && !must(v[i]) {
		i++
	}
	if i == len(v) {
		return v
	}
	b := []byte(v[:i])
	for ; i < len(v); i++ {
		if must(v[i]) {
			b = fmt.Appendf(b, "%%%02X", v[i])
		} else {
			b = append(b, v[i])
		}
	}
	return string(b)
}

// versionOf gives the version of an event in binary mode, or nil where there is none that is known.
func versionOf(h http.Header) spec.Version { return spec.VS.Version(h.Get("Ce-Specversion")) }

// decodeBinary is the inverse of encodeBinary. Two values for one attribute are an error: nothing says which one
// counts.
func decodeBinary(h http.Header, body []byte) (event.Event, error) {
	version := versionOf(h)
	e := event.New(version.String())
	for k, values := range h {
		name, is := strings.CutPrefix(k, "Ce-")
		if !is && k != "Content-Type" {
			continue
		}
		if len(values) != 1 {
			return e, fmt.Errorf("header %s is given %d times, an attribute has one value", strings.ToLower(k), len(values))
		}
		v := values[0]
		var err error
		switch name = strings.ToLower(name); {
		case !is:
			err = e.Context.SetDataContentType(v)
		case name == "":
			err = errors.New("header ce- names no attribute")
		default:
			if v, err = unescape(v); err != nil {
				err = fmt.Errorf("header %s: %w", strings.ToLower(k), err)
			} else if a := version.Attribute(name); a != nil && name != datacontenttype {
				err = a.Set(e.Context, v)
			} else {
				err = e.Context.SetExtension(name, v)
			}
		}
		if err != nil {
			return e, err
		}
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return e, nil
}

var quotedPair = lazily(`\\(.)`) // RFC 7230, section 3.2.6

// unescape is the inverse of escape. It also takes off the double quotes that HTTP allows around a value.
func unescape(v string) (string, error) {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = quotedPair().ReplaceAllString(v[1:len(v)-1], "$1")
	}
	v, err := url.PathUnescape(v)
	if err != nil {
		return "", fmt.Errorf("%w: percent signs are written %%25", err)
	}
	if !utf8.ValidString(v) {
		return "", errors.New("it is not UTF-8")
	}
	return v, nil
}
