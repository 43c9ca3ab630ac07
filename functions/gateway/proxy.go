package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Config says where the functions are, and the gateway itself: http or https URLs.
type Config struct {
	LoginURL    url.URL `env:"LOGIN_URL, required"`
	ValidateURL url.URL `env:"VALIDATE_URL, required"`
	UploadURL   url.URL `env:"UPLOAD_URL, required"`
	JobsURL     url.URL `env:"JOBS_URL, required"`
	// PublicURL is the address that browsers know the gateway by. Without it the request tells.
	PublicURL string `env:"PUBLIC_URL"`
}

// Validate reports every URL that nothing can be sent to.
func (c Config) Validate() error {
	var errs []error
	check := func(name string, u url.URL) {
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("%s is %q: want http://HOST[:PORT] or https://…", name, u.Redacted()))
		}
	}
	check("LOGIN_URL", c.LoginURL)
	check("VALIDATE_URL", c.ValidateURL)
	check("UPLOAD_URL", c.UploadURL)
	check("JOBS_URL", c.JobsURL)
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" ||
		u.Hostname() == "" || strings.ContainsAny(c.PublicURL, "?#")) {
		errs = append(errs, errors.New("PUBLIC_URL: want the address of the gateway, such as https://soundstrip.example.com"))
	}
	return errors.Join(errs...)
}

// Routes forwards to the functions' URLs.
func (c Config) Routes() Routes {
	return Routes{
		Login:    Proxy("login", &c.LoginURL, answerWithin),
		Validate: Proxy("validate", &c.ValidateURL, answerWithin),
		Upload:   Proxy("upload", &c.UploadURL, storeWithin),
		Jobs:     Proxy("jobs", &c.JobsURL, answerWithin),
	}
}

const (
	// answerWithin is how long a function may take to begin its answer: it may have to be started first, and its stores
	// have deadlines of their own.
	answerWithin = 2 * time.Minute
	// storeWithin is the same for a video, which upload writes to the disk before it answers. Knative's limit is the same.
	storeWithin = 10 * time.Minute
)

// comeBack is when a function that is away is worth another try.
const comeBack = 2 * time.Second

// Proxy forwards requests to a function. Bodies are streamed both ways as they come: they may take as long as they like
// and have any length. While the function cannot be reached, the answer is a 503 with Retry-After that names it. When
// it has the whole request and does not begin its answer within the given time, the answer is a 504 that names it.
func Proxy(name string, target *url.URL, within time.Duration) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came: the function refuses what is malformed
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.Out.Header.Del("Expect") // of us: the client is told to go on as soon as the function takes the body
			p.SetXForwarded()
			if proto := p.In.Header.Get("X-Forwarded-Proto"); proto != "" {
				p.Out.Header.Set("X-Forwarded-Proto", proto) // TLS ended before us
			}
		},
		Transport: telemetry.Transport(&http.Transport{
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       time.Minute, // below the functions' own: no request meets a closing connection
			ResponseHeaderTimeout: within,      // from the last byte of the request on
			TLSHandshakeTimeout:   10 * time.Second,
			DisableCompression:    true, // what the client asked for is what it gets
		}),
		FlushInterval: -1,
		ModifyResponse: func(res *http.Response) error {
			for name := range serve.Protective { // the gateway's own answer has them
				res.Header.Del(name)
			}
			res.Header.Del("Strict-Transport-Security")
			return keep(res)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			fault, network := (*problem.Error)(nil), (*net.OpError)(nil)
			switch {
			case errors.As(err, &fault): // the client's body failed, not the function
			case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &network): // ResponseHeaderTimeout
				err = problem.Wrap(err, problem.Timeout, "the %s function has not answered for %v: "+
					"look whether it did what you asked for, and try again if not", name, within)
			default:
				err = problem.Wrap(err, problem.Unavailable,
					"the %s function cannot be reached at the moment: try again", name).RetryAfter(comeBack)
			}
			if r.Context().Err() != nil {
				err = fmt.Errorf("%w: %w", context.Canceled, err)
			}
			problem.Write(w, r, err)
		},
	}
}

// keep reads a refusal of known length whole, since it may have to wait for the body of its request (see [serve.Run]),
// while the function closes the connection.
func keep(res *http.Response) error {
	const most = 64 << 10
	if res.StatusCode < http.StatusBadRequest || res.ContentLength <= 0 || res.ContentLength > most ||
		res.Request.Method == http.MethodHead {
		return nil
	}
	body := make([]byte, res.ContentLength)
	if _, err := io.ReadFull(res.Body, body); err != nil {
		return err
	}
	err := res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	return err
}
