//go:build browser

package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

// as signs in as another than georgio.
func (p *tab) as(email, secret string) {
	p.t.Helper()
	p.visible(signIn)
	p.do("write the address", chromedp.SetValue(chromedp.CSS("#signin [name=email]"), email)) // one may be there
	p.enter("#signin [name=password]", secret+"\r")
	p.until(usable)
}

// status is that of a GET with a bearer.
func status(t testing.TB, url, bearer string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// TestAccount makes a user as an admin, and lives that user's life: quota, end of files, password, keys, sessions, and
// the end of the account.
func TestAccount(t *testing.T) {
	t.Parallel()
	const ada, chosen = "ada@example.com", "Violet-Harbour-7"
	s := serve(t, map[string]string{"QUOTAS": "default bytes=20M minutes=600; admin", "RETENTION_MP3": "30d"})
	admin := person(t, s.url)
	admin.signIn()
	admin.click("#users")
	admin.click("#user-new summary")
	admin.enter("#user [name=email]", ada)
	admin.enter("#user [name=group]", "team\r")
	admin.visible("#user-secret")
	made := eval[string](admin, "document.querySelector('#user-secret').value")
	admin.until(`[...document.querySelectorAll('li.user .group')].some(e => e.value === 'team')`)
	admin.look("users")

	p := person(t, s.url)
	p.allow(`status of 4(0[13]|22)`)
	p.as(ada, made)
	p.gone("#users")
	p.until(`document.querySelector('#quota').innerText.includes('0 bytes of 20 MB')`)

	// What there is no room for is told before it is sent.
	p.pick(large(t, "too large.avi", 40))
	p.until(`document.querySelector('li.upload[data-state=failed]')?.innerText.includes('room for 20 MB')`)
	p.look("no-room")
	p.click("li.upload .cancel")
	p.click("#options summary")
	p.do("choose how long it is kept", chromedp.SetValue(chromedp.CSS("#options [name=expires]"), "1d"))
	p.pick(video(t, "short-lived.mp4", 2))
	p.done(1)
	p.until(`document.querySelector('li.job').innerText.includes('kept until')`)
	p.until(`!document.querySelector('#quota').innerText.includes('0 bytes')`)

	p.click("#account")
	p.visible("#me-use progress")
	p.look("account")
	p.click("#me-password summary")
	p.enter("#me-password [name=current]", "wrong")
	p.enter("#me-password [name=password]", chosen+"\r")
	p.visible("#me-password [role=alert]")
	p.do("empty the field", chromedp.SetValue(chromedp.CSS("#me-password [name=current]"), made))
	p.click("#me-password [type=submit]")
	p.until(`document.querySelector('#status').innerText.includes('password is changed')`)
	p.click("#me-password summary")

	p.click("#me-keys summary")
	p.enter("#key-name", "backup")
	p.click("#me-keys [value=upload]")
	p.click("#me-keys [type=submit]")
	p.visible("#key-secret")
	p.look("keys")
	key := eval[string](p, "document.querySelector('#key-secret').value")
	if got := status(t, s.url+"jobs", key); got != http.StatusOK {
		t.Errorf("GET /jobs by the key = %d", got)
	}
	p.click("#key-list button")
	p.click("#confirm-yes")
	p.gone("#key-list li")
	eventually(t, "the key to end", func() (string, bool) {
		got := status(t, s.url+"jobs", key)
		return fmt.Sprint(got), got == http.StatusForbidden
	})

	p.click("#me-sessions summary")
	p.click("#me-sessions [type=submit]")
	p.visible(signIn)
	p.as(ada, chosen)
	p.done(1) // the files are there

	// An admin's hand.
	admin.click("li.user .disable")
	admin.visible("li.user.off .enable")
	admin.look("users-disabled")
	eventually(t, "the session to end", func() (string, bool) {
		return p.text(), eval[bool](p, isVisible(signIn)+" || (document.querySelector('#account').click(), false)")
	})
	admin.click("li.user .enable")
	admin.visible("li.user .disable")
	admin.do("change the group", chromedp.SetValue(chromedp.CSS("li.user .group"), "default"))
	eval[bool](admin, `document.querySelector('li.user .group').dispatchEvent(new Event('change'))`)
	admin.until(`document.querySelector('#status').innerText.includes('group default')`)

	p.as(ada, chosen)
	p.click("#account")
	p.click("#me-delete summary")
	p.enter("#me-delete [name=password]", chosen+"\r")
	p.look("delete-account")
	p.click("#confirm-yes")
	p.visible(signIn)
	p.enter("#signin [name=email]", ada)
	p.enter("#signin [name=password]", chosen+"\r")
	p.visible("#signin-error")

	admin.enter("#user-search", "nobody")
	admin.gone("li.user")
	admin.click("#people .close")
	admin.gone("#people")
}

// TestSignOn signs in at an OpenID provider on another host, and comes back with a session.
func TestSignOn(t *testing.T) {
	t.Parallel()
	op, front := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	public := "http://" + front.Listener.Addr().String() + "/"
	issuer := strings.Replace("http://"+op.Listener.Addr().String()+"/", "127.0.0.1", "localhost", 1)
	storage.RegisterClients(storage.WebClient("page", "secret", public+"login/oidc/callback"))
	anna := &storage.User{ID: "anna", Username: "anna", Password: "p", Email: "anna@example.com", EmailVerified: true}
	op.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(users{"anna": anna}), nil, false)
	s := serve(t, map[string]string{"PUBLIC_URL": public, "OIDC_ISSUER": issuer, "OIDC_CLIENT_ID": "page",
		"OIDC_CLIENT_SECRET": "secret"})
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded()
	}}
	for _, s := range []*httptest.Server{op, front} {
		s.Start()
		t.Cleanup(s.Close)
	}
	p := person(t, public)
	p.allow(`favicon`) // the provider has none
	p.visible("#signon")
	p.look("single-sign-on")
	p.click("#signon")
	p.enter("[name=username]", "anna")
	p.enter("[name=password]", "p\r")
	p.until(usable)
	p.until(`document.querySelector('#user').innerText === 'anna@example.com'`)
	p.click("#account")
	p.click("#me-password summary")
	p.gone("#me-password form")
	p.look("account-elsewhere")
}

// users are those of the OpenID provider.
type users map[string]*storage.User

func (u users) GetUserByID(id string) *storage.User { return u[id] }

func (u users) GetUserByUsername(name string) *storage.User { return u[name] }

func (users) ExampleClientID() string { return "" }
