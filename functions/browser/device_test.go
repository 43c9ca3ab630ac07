//go:build browser

package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestPhone does all by touch, on 360 px.
func TestPhone(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.phone()
	p.reload()
	p.visible(signIn)
	p.fits("sign-in on a phone", 360)
	p.tap("#signin [name=email]")
	p.enter("#signin [name=email]", georgio)
	p.enter("#signin [name=password]", password)
	p.tap("#signin [type=submit], #signin button:not([type=button])")
	p.until(usable)
	p.fits("the page on a phone", 360)
	p.pick(video(t, "a name that is far too long for a phone, and has-no-place-at-which-it-could-be-broken-but-hyphens_"+
		strings.Repeat("x", 80)+".mp4", 5))
	p.done(1)
	p.fits("a job on a phone", 360)
	p.tap("li.job .play")
	p.until(`document.querySelector('#player audio')?.currentTime > 0`)
	p.fits("the player on a phone", 360)
	p.look("long-name")
	// WCAG 2.2, 2.5.8, wants 24 px. What has a label may be tapped there.
	small := eval[[]string](p, `[...document.querySelectorAll('button, a, input, select, summary')].filter(e =>
		e.checkVisibility() && !e.labels?.length).map(e => [e, e.getBoundingClientRect()]).filter(([e, r]) =>
		r.height < 24 || r.width < 24).map(([e, r]) => e.outerHTML.slice(0, 120) + ' ' + r.width + '×' + r.height)`)
	if len(small) > 0 {
		t.Errorf("too small for a finger: %q", small)
	}
	p.tap("#signout")
	p.visible(signIn)
}

// TestInstallable asks the browser whether it would install the page.
func TestInstallable(t *testing.T) {
	t.Parallel()
	p := person(t, serve(t, nil).url)
	p.visible(signIn)
	m := call(p, page.GetAppManifest, page.GetAppManifestParams{})
	if !strings.HasSuffix(m.URL, "/manifest.json") || len(m.Errors) > 0 {
		t.Errorf("the manifest is %s, with the errors %+v", m.URL, m.Errors)
	}
	for _, e := range call(p, page.GetInstallabilityErrors, cdp.Empty{}).InstallabilityErrors {
		if e.ErrorID != "in-incognito" { // as all persons of these tests are
			t.Errorf("the browser does not install the page: %+v", e)
		}
	}
}

// TestWidths looks for what does not fit, from a small phone to a wide screen, and with twice the size of everything.
func TestWidths(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	p.pick(video(t, "fits.mp4", 3))
	p.done(1)
	p.click("li.job .play")
	p.visible("#player")
	for _, width := range []int{320, 480, 640, 1024, 1920, 2560} {
		p.do("set the window's size", chromedp.EmulateViewport(int64(width), 900))
		p.fits("the page", width)
	}
	// Zoom makes pixels of CSS larger, and so fewer.
	p.do("zoom to 200 %", chromedp.EmulateViewport(640, 450, chromedp.EmulateScale(2)))
	p.fits("at 200 %", 640)
	p.axe("at 200 %")
}

// TestKeyboard signs in, plays and signs out without a mouse.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.visible(signIn)
	p.tabTo("#signin [name=email]")
	p.keys(georgio)
	p.tabTo("#signin [name=password]")
	p.keys(password + "\r")
	p.until(usable)
	p.pick(video(t, "keys.mp4", 20))
	p.done(1)
	p.tabTo("li.job .play")
	p.keys("\r")
	p.until(`document.querySelector('#player audio')?.currentTime > 0`)
	p.tabTo("#signout")
	p.keys("\r")
	p.visible(signIn)
}

func (p *tab) keys(keys string) {
	p.t.Helper()
	p.do("press keys", chromedp.KeyEvent(keys))
}

// tabTo presses the tabulator until an element has the focus, and a person sees that.
func (p *tab) tabTo(css string) {
	p.t.Helper()
	p.visible(css)
	for range 100 {
		if eval[bool](p, fmt.Sprintf("document.activeElement?.matches(%q)", css)) {
			if !eval[bool](p, `(s => s.outlineStyle !== 'none' || s.boxShadow !== 'none')(getComputedStyle(
				document.activeElement))`) {
				p.t.Errorf("%s has the focus, and nobody sees it", css)
			}
			return
		}
		p.keys("\t")
	}
	p.t.Fatalf("the tabulator does not come to %s", css)
}
