package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/convert"
	"github.com/soundstrip/soundstrip/functions/gateway"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/engine"
	"github.com/soundstrip/soundstrip/functions/internal/mail"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/jobs"
	"github.com/soundstrip/soundstrip/functions/login"
	"github.com/soundstrip/soundstrip/functions/notify"
	"github.com/soundstrip/soundstrip/functions/sweep"
	"github.com/soundstrip/soundstrip/functions/upload"
	"github.com/soundstrip/soundstrip/functions/validate"
)

// config is what all functions together are told, but for the servers: those are read only where they are named.
type config struct {
	Serve    serve.Config
	Where    userConfig
	User     string `env:"SOUNDSTRIP_USER"`     // the first user's e-mail address; admin@localhost when not set
	Password string `env:"SOUNDSTRIP_PASSWORD"` // made up and printed when not set
	Token    token.SignerConfig
	Login    login.Config
	Upload   upload.Config
	Convert  convert.Config
	Engine   engine.Config
	Notify   notify.Config
	Mail     mail.Config
	Webhook  notify.WebhookConfig
	Jobs     jobs.Config
	Sweep    sweep.Config
}

// triggers are those of config/, with subscribers in this process. There are as many conversions at once as cores.
func triggers(c convert.Config) broker.Triggers {
	filter := func(eventType string) broker.Filter {
		return broker.Filter{Attributes: map[string]string{"type": eventType}}
	}
	return broker.Triggers{
		{Name: "convert", Queue: "video", Filter: filter(eventing.TypeVideoUploaded), Subscriber: "http://convert",
			Parallelism: runtime.GOMAXPROCS(0),
			Delivery:    broker.Delivery{Timeout: broker.Duration(min(2*c.Timeout, broker.MaxTimeout))}},
		{Name: "notify", Queue: "mp3", Filter: filter(eventing.TypeAudioConverted), Subscriber: "http://notify"},
		{Name: "notify-account", Filter: filter(eventing.TypeAccountMail), Subscriber: "http://notify"},
		{Name: "notify-failed", Filter: filter(eventing.TypeConversionFailed), Subscriber: "http://notify"},
	}
}

func runServer(ctx context.Context, env envconfig.Lookuper) (err error) {
	syscall.Umask(0o077) // what is kept is nobody else's
	var where userConfig
	if err := serve.Load(ctx, env, &where); err != nil {
		return err
	}
	f, err := newFolder(where.Data)
	if err != nil {
		return err
	}
	lock, err := f.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	defaults, err := f.defaults(env)
	if err != nil {
		return err
	}
	var c config
	if err := serve.Configure(ctx, envconfig.MultiLookuper(env, defaults), "soundstrip", &c, &c.Serve); err != nil {
		return err
	}
	if err := f.open(); err != nil { // now it is known whether its statements are traced
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	p, err := f.process(ctx, env, c)
	if err != nil {
		return err
	}
	return serve.Run(ctx, c.Serve, p)
}

// defaults are what a laptop has instead of a deployment's variables: it listens on loopback, does not wait for long
// conversions when it is stopped (they go on at the next start), and keeps secrets of its own in the folder.
func (f *folder) defaults(env envconfig.Lookuper) (envconfig.Lookuper, error) {
	port, _ := env.Lookup("PORT")
	d := map[string]string{"HOST": "127.0.0.1", "DRAIN_TIMEOUT": "5s", "PUBLIC_URL": "http://127.0.0.1:" + cmp.Or(port,
		"8080")}
	var errs []error
	if !set(env, "JWT_SECRET") && !set(env, "JWT_PRIVATE_KEY") {
		errs = append(errs, f.secret(d, "JWT_SECRET", "token-secret"))
	}
	if !set(env, "LINK_SECRET") {
		errs = append(errs, f.secret(d, "LINK_SECRET", "link-secret"))
	}
	return envconfig.MapLookuper(d), errors.Join(errs...)
}

// secret sets a variable to what is in a file of the folder, which is made at the first time.
func (f *folder) secret(to map[string]string, variable, file string) error {
	path := filepath.Join(f.path, file)
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = []byte(hex.EncodeToString(randomBytes()))
		err = os.WriteFile(path, secret, 0o600)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	to[variable] = string(secret)
	return nil
}

func randomBytes() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}

// process wires every function into one.
func (f *folder) process(ctx context.Context, env envconfig.Lookuper, c config) (p serve.Process, err error) {
	p = serve.Process{Name: "soundstrip"}
	users, closeUsers, err := f.accounts(ctx, c.Where.Account)
	if err != nil {
		return p, err
	}
	files, err := f.media(ctx, env)
	if err != nil {
		return p, err
	}
	ts := triggers(c.Convert)
	queue, err := f.queue(ctx, env, ts)
	if err != nil {
		return p, err
	}
	signer, err := token.NewSigner(c.Token)
	if err != nil {
		return p, err
	}
	encoder, err := engine.New(c.Engine, c.Convert.Timeout)
	if err == nil {
		err = encoder.Check(ctx)
	}
	if err != nil {
		return p, err
	}
	channels, mailbox, err := f.channels(c)
	if err != nil {
		return p, err
	}

	if !set(env, "PUBLIC_URL") {
		c.Jobs.PublicURL = "" // the default is of use on this machine only: who asks from elsewhere tells
	}
	send := sender{queue}
	verifier := token.WithLogin(signer.Verifier(), login.Local{Users: users}, time.Second)
	mux := serve.NewMux()
	mux.Handle("/", gateway.New(gateway.Routes{
		Login:    serve.Small(login.New(users, signer, send, c.Login)),
		Validate: serve.Small(validate.New(verifier)),
		Upload:   upload.New(files.videos, files.jobs, files.uploads, send, verifier, c.Upload),
		Jobs: serve.Small(jobs.New(
			files.jobs, files.feeds, files.webhooks, files.videos, files.mp3s, send, verifier, c.Jobs)),
	}, c.Jobs.PublicURL))
	if mailbox != nil {
		mux.Handle("/mailbox", loopback(mailbox, c.Notify.PublicURL))
		mux.Handle("/mailbox/", loopback(mailbox, c.Notify.PublicURL))
	}
	p.Handler = mux
	dispatcher := broker.NewDispatcher(queue, ts, nil, broker.Local{
		"convert": until(ctx, convert.New(files.jobs, files.videos, files.mp3s, encoder, c.Convert)),
		"notify":  notify.New(files.jobs, files.webhooks, files.videos, files.mp3s, channels, c.Notify),
	})
	sweeper := sweep.New(files.jobs, files.uploads, files.videos, files.mp3s, send, c.Sweep).
		WithAccounts(sweep.Accounts{Deleted: deleted{users}, Feeds: files.feeds, Webhooks: files.webhooks})
	p.Background = []func(context.Context) error{dispatcher.Run, sweeper.Run}
	p.Checks = []serve.Check{
		{Name: "the store of users", Ping: users.Ping},
		{Name: "the store of jobs", Ping: files.jobs.Ping},
		{Name: "the store of videos", Ping: files.videos.Ping},
		{Name: "the store of MP3s", Ping: files.mp3s.Ping},
		{Name: "the queue", Ping: queue.Ping},
		{Name: "uploads", Ping: upload.Room(files.videos, c.Upload)},
	}
	p.Close = []func(context.Context) error{queue.Close, files.close, closeUsers}
	p.Ready = func(a net.Addr) { fmt.Printf("Soundstrip serves on http://%s\n", a) }
	// Last, so that a password is not printed by a start that then fails.
	return p, firstUser(ctx, users, c.User, c.Password)
}

// deleted tells the sweep of accounts that were deleted.
type deleted struct{ *account.Store }

func (d deleted) Deletions(ctx context.Context) ([]sweep.Deletion, error) {
	found, err := d.Store.Deletions(ctx)
	all := make([]sweep.Deletion, len(found))
	for i, f := range found {
		all[i] = sweep.Deletion(f)
	}
	return all, err
}

// until ends a request's work when ctx ends: who stops the program on a laptop does not wait for its conversions, and
// each is given back to the queue.
func until(ctx context.Context, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		working, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		h.ServeHTTP(w, r.WithContext(working))
	})
}

// loopback serves this machine only: everybody's mail is in the mailbox. A page of another site may have its name lead
// here, and a proxy on this machine may pass on anybody: so the request has to name us as we are called here, and to
// come by no proxy.
func loopback(h http.Handler, publicURL string) http.Handler {
	ours := []string{"127.0.0.1", "localhost", "::1"}
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		ours = append(ours, u.Hostname())
	}
	return problem.Handler(func(w http.ResponseWriter, r *http.Request) error {
		a, err := netip.ParseAddrPort(r.RemoteAddr)
		named := slices.Contains(ours, (&url.URL{Host: r.Host}).Hostname())
		proxy := r.Header.Get("Forwarded") + r.Header.Get("X-Forwarded-For") + r.Header.Get("X-Forwarded-Host") +
			r.Header.Get("X-Real-Ip") + r.Header.Get("Via")
		if err != nil || !a.Addr().Unmap().IsLoopback() || !named || proxy != "" {
			return problem.New(problem.Forbidden,
				"the mailbox is shown on the machine that keeps it only; set SMTP_HOST to have mail sent")
		}
		h.ServeHTTP(w, r)
		return nil
	})
}

// sender publishes events without HTTP between.
type sender struct{ queue broker.Queue }

func (s sender) Send(ctx context.Context, e event.Event) error {
	eventing.SetTrace(ctx, &e)
	return s.queue.Publish(ctx, e)
}

// channels are how people are told: by mail, through SMTP_HOST or into a folder that the handler shows, and webhooks.
func (f *folder) channels(c config) ([]notify.Channel, http.Handler, error) {
	var post notify.Post
	var mailbox http.Handler
	if c.Mail.Host != "" {
		smtp, err := mail.NewSMTP(c.Mail)
		if err != nil {
			return nil, nil, err
		}
		post = smtp
	} else {
		dir, err := mail.NewMailbox(filepath.Join(f.path, "mailbox"))
		if err != nil {
			return nil, nil, err
		}
		post, mailbox = dir, dir
	}
	channels := []notify.Channel{notify.Email(post)}
	if c.Webhook.URL != "" {
		channels = append(channels, notify.Webhook(c.Webhook, nil))
	}
	return append(channels, notify.JobWebhook(c.Webhook, nil)), mailbox, nil
}
