//go:build browser

package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

const (
	signIn   = "#signin"
	finished = `li.job[data-state=notified], li.job[data-state=converted]`
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.visible(signIn)
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

// TestExpired lets a session end while the page is open: who sends a file is asked to sign in again, and the file goes.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"JWT_TTL": "10s"})
	p := person(t, s.url)
	p.allow(`status of 40[13]`)
	p.signIn()
	eventually(t, "the cookie to end", func() (string, bool) {
		c := call(p, network.GetCookies, network.GetCookiesParams{}).Cookies
		return fmt.Sprintf("%+v", c), len(c) == 0
	})
	p.pick(video(t, "later.mp4", 2))
	p.visible(signIn)
	p.look("expired")
	if text := eval[string](p, "document.body.innerText"); !strings.Contains(strings.ToLower(text), "again") {
		t.Errorf("when the session has ended, the page says %q, want that one signs in again", text)
	}
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
	p.do("pick a file", chromedp.SetUploadFiles(chromedp.CSS("form[action=upload] [type=file]"), []string{
		video(t, "form.mp4", 2)}))
	p.click("form[action=upload] button, form[action=upload] [type=submit]")
	s.ended(1)
	p.visit(s.url + "plain")
	p.until(`document.body.innerText.includes('form.mp4') && !!document.querySelector('a[href*=mp3]')`)
}
