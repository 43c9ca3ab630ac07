//go:build browser

package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	signIn   = "[data-started] #signin" // once the modules are there: before, the form posts by itself
	finished = `li.job[data-state=notified], li.job[data-state=converted]`
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.visible(signIn)
	p.gone("#signup") // it is closed
	p.look("sign-in")

	p.allow(`status of 401`)
	p.enter("#signin [name=email]", georgio)
	p.enter("#signin [name=password]", "not this\r")
	p.visible("[role=alert]")
	p.until(`/right|wrong/.test([...document.querySelectorAll('[role=alert]')].map(e => e.innerText).join())`)
	p.look("sign-in-wrong")
	if got := eval[string](p, `document.querySelector('#signin [name=email]').value`); got != georgio {
		t.Errorf("after a wrong password the address is %q, want what was typed", got)
	}

	// The wrong password is selected, so that it is typed over.
	p.click("#signin [name=email]")
	p.keys("\t")
	p.keys(password)
	p.click("#signin [type=submit], #signin button:not([type=button])")
	p.until(usable)
	p.gone("[role=alert]")
	p.look("empty")
	cookies := call(p, network.GetCookies, network.GetCookiesParams{}).Cookies
	if len(cookies) != 1 || !cookies[0].HTTPOnly || cookies[0].SameSite != "Strict" || cookies[0].Session {
		t.Errorf("the cookies are %+v, want one that is HttpOnly, SameSite=Strict and ends", cookies)
	}

	p.reload()
	p.until(usable)
	p.click("#signout")
	p.visible(signIn)
	if c := call(p, network.GetCookies, network.GetCookiesParams{}).Cookies; len(c) != 0 {
		t.Errorf("after signing out there are the cookies %+v", c)
	}
	p.reload()
	p.visible(signIn)
}

// TestSignUp makes an account where everyone may, by the link of a mail.
func TestSignUp(t *testing.T) {
	t.Parallel()
	const ada, secret = "ada@example.com", "Violet-Harbour-7"
	data := t.TempDir()
	s := serve(t, map[string]string{"LOGIN_SIGNUP": "open", "SOUNDSTRIP_DATA": data})
	p := person(t, s.url)
	p.allow(`status of 422`)
	p.click("#forgot")
	p.visible("#signup") // the way back
	p.click("#signup")
	p.click("#signup")
	p.enter("#signin [name=email]", ada+"\r")
	p.until(fmt.Sprintf(`document.querySelector('#signin-why').innerText.includes(%q)`, ada))
	p.look("sign-up")
	link := mailed(t, data, 1)
	eval[bool](p, fmt.Sprintf(`(location.hash = 'password=' + %q, true)`, link))
	p.gone("#signin [name=email]")
	p.enter("#signin [name=password]", "short\r")
	p.visible("#signin-error")
	p.look("choose-password")
	p.enter("#signin [name=password]", secret+"\r")
	p.visible("#signin [name=email]") // the address is there
	p.enter("#signin [name=password]", secret+"\r")
	p.until(usable)
	p.until(fmt.Sprintf(`document.querySelector('#user').innerText === %q`, ada))

	// The password is forgotten, and another chosen.
	const other = "Amber-Lantern-9"
	p.click("#signout")
	p.click("#forgot")
	p.enter("#signin [name=email]", ada+"\r")
	p.until(fmt.Sprintf(`document.querySelector('#signin-why').innerText.includes(%q)`, ada))
	eval[bool](p, fmt.Sprintf(`(location.hash = 'password=' + %q, true)`, mailed(t, data, 2)))
	p.gone("#signin [name=email]")
	p.enter("#signin [name=password]", other+"\r")
	p.visible("#signin [name=email]")
	p.as(ada, other)
}

// mailed waits for the n-th mail, and gives what is in its link.
func mailed(t testing.TB, data string, n int) (link string) {
	t.Helper()
	eventually(t, "the mail", func() (string, bool) {
		mails, err := filepath.Glob(filepath.Join(data, "mailbox", "*.eml"))
		if err != nil || len(mails) != n {
			return fmt.Sprint(mails, err), false
		}
		slices.Sort(mails) // they have the time in their names
		b, err := os.ReadFile(mails[n-1])
		m := regexp.MustCompile(`#password=(?:3D)?([A-Z2-7]+)`).FindStringSubmatch(
			strings.NewReplacer("=\r\n", "", "=\n", "").Replace(string(b)))
		if m != nil {
			link = m[1]
		}
		return fmt.Sprint(err, string(b)), m != nil
	})
	return link
}

// TestEarly does things before the modules are there that take them.
func TestEarly(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]chan struct{}{"/main.js": make(chan struct{}), "/upload.js": make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	front := newFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, free := range held {
			if strings.HasSuffix(r.URL.Path, name) {
				select {
				case <-free:
				case <-r.Context().Done():
				}
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	p := person(t, "about:blank")
	call(p, page.Navigate, page.NavigateParams{URL: front}) // does not wait for modules
	p.visible("#signin")
	p.enter("#signin [name=email]", georgio)
	p.enter("#signin [name=password]", password+"\r")
	p.visible("#drop") // the form has posted itself
	close(held["/main.js"])
	p.until(`document.body.dataset.started === '' && document.querySelector('#user').innerText !== ''`)
	p.click("#options [value=speech]")
	p.pick(video(t, "early.mp4", 2))
	close(held["/upload.js"])
	v := s.ended(1)[0]
	if v.Options["mono"] != true || v.Options["normalize"] != true {
		t.Errorf("the options are %v, want those of speech", v.Options)
	}
}

// TestExpired lets a session end while a file is sent, and nothing else is asked for: the page tells by itself, and the
// file arrives.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"JWT_TTL": "10s"})
	l := newLine(t, s)
	p := person(t, l.url)
	p.allow(`status of 40[13]`)
	p.signIn()
	l.set(func(l *line) { l.hold = l.up + 4_000_000 })
	p.pick(large(t, "later.avi", 12))
	<-l.held
	p.visible(signIn)
	p.look("expired")
	if text := eval[string](p, "document.querySelector('#signin-why').innerText"); !strings.Contains(text, "ended") {
		t.Errorf("when the session has ended, the page says %q, want that", text)
	}
	l.release()
	p.signIn()
	if v := s.ended(1)[0]; v.State != "notified" {
		t.Errorf("the job ended %+v", v)
	}
}

// TestNoScript signs in, sends a file and reads the list without JavaScript.
func TestNoScript(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.reload()
	const email, pass = "form[action=session] [name=email]", "form[action=session] [name=password]"
	p.enter(email, georgio)
	p.enter(pass, password+"\r")
	p.visible("form[action=upload] [type=file]")
	p.narrow("the page without JavaScript")
	p.do("pick a file", chromedp.SetUploadFiles(chromedp.CSS("form[action=upload] [type=file]"), []string{
		video(t, "form.mp4", 2)}))
	p.click("form[action=upload] button, form[action=upload] [type=submit]")
	s.ended(1)
	p.visit(s.url + "plain")
	p.until(`document.body.innerText.includes('form.mp4') && !!document.querySelector('a[href*=mp3]')`)
	p.narrow("the list without JavaScript")
}

// narrow looks whether a view fits a phone. Without JavaScript axe-core does nothing.
func (p *tab) narrow(name string) {
	p.t.Helper()
	p.do("be a phone", chromedp.EmulateViewport(320, 740))
	p.fits(name, 320)
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
		err = errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
		if err != nil {
			p.t.Error(err)
		}
	}
	p.do("set the window's size", p.size)
}
