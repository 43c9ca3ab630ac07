package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
)

type request struct {
	Method, URL string
	Header      map[string]string
	Body        string
}

type answer struct {
	Status  int
	Body    string
	Seconds float64 // until the answer began
}

// handler serves
//
//	GET /mails   the mails so far
//	POST /call   sends a request from here and tells the answer
func handler(m *mailbox) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /mails", problem.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		return json.NewEncoder(w).Encode(m.all())
	}))
	mux.Handle("POST /call", problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		var q request
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return problem.Wrap(err, problem.Invalid, "want a request in JSON")
		}
		out, err := http.NewRequestWithContext(r.Context(), q.Method, q.URL, strings.NewReader(q.Body))
		if err != nil {
			return problem.Wrap(err, problem.Invalid, "no request can be made of it")
		}
		for name, value := range q.Header {
			out.Header.Set(name, value)
		}
		began := time.Now()
		resp, err := http.DefaultClient.Do(out)
		if err != nil {
			return problem.Wrap(err, problem.Unavailable, "no answer")
		}
		defer resp.Body.Close()
		a := answer{Status: resp.StatusCode, Seconds: time.Since(began).Seconds()}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return problem.Wrap(err, problem.Unavailable, "the answer broke off")
		}
		a.Body = string(body)
		return json.NewEncoder(w).Encode(a)
	}))
	return mux
}
