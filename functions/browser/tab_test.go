//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is one tab, which fails its test for what the browser reports of the page.
type tab struct {
	t    testing.TB
	ctx  context.Context
	size chromedp.Action[chromedp.Void] // what it goes back to after screenshots

	mu     sync.Mutex
	faults []string
	may    []*regexp.Regexp
}

// person opens a tab with cookies, stores and a cache of its own, and goes to the address.
func person(t testing.TB, url string) *tab {
	t.Helper()
	return newTab(browser, t, url, chromedp.WithNewBrowserContext())
}

// another opens another tab of the same person.
func (p *tab) another(url string) *tab {
	p.t.Helper()
	return newTab(p.ctx, p.t, url)
}

func newTab(parent context.Context, t testing.TB, url string, options ...chromedp.ContextOption) *tab {
	t.Helper()
	p := &tab{t: t}
	// In a window of its own, so that it is not hidden.
	options = append(options, chromedp.WithNewWindow(true), chromedp.WithListener(p.hear))
	ctx, cancel := chromedp.NewContext(parent, options...)
	p.ctx = ctx
	t.Cleanup(func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.faults {
			if !slices.ContainsFunc(p.may, func(m *regexp.Regexp) bool { return m.MatchString(f) }) {
				t.Errorf("the browser reports: %s", f)
			}
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	call(p, audits.Enable, cdp.Empty{})
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	p.window(1280)
	p.visit(url)
	return p
}

// hear collects what is wrong.
func (p *tab) hear(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		d := ev.ExceptionDetails
		text := d.Text
		if d.Exception != nil {
			text += " " + d.Exception.Description
		}
		p.fault("uncaught: " + text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == "error" || ev.Type == "warning" || ev.Type == "assert" {
			var args []string
			for _, a := range ev.Args {
				args = append(args, string(a.Value)+a.Description)
			}
			p.fault(fmt.Sprintf("console.%s: %s", ev.Type, strings.Join(args, " ")))
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Level == "warning" {
			p.fault(fmt.Sprintf("%s: %s (%s)", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL))
		}
	case *audits.EventIssueAdded:
		b, _ := json.Marshal(ev.Issue)
		if ev.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			p.fault("issue: " + string(b))
		} else if p.ctx != nil {
			p.t.Logf("the browser advises: %s", b) // each of its versions has more to advise
		}
	case *page.EventJavascriptDialogOpening:
		// Leaving while files are sent may be asked about; a person says yes.
		go func() {
			_, err := chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
			if err != nil && p.ctx.Err() == nil {
				p.fault("dialog: " + err.Error())
			}
		}()
	}
}

func (p *tab) fault(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, s)
}

// allow lets the browser report what the test itself is about, such as a wrong password's 401.
func (p *tab) allow(pattern string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.may = append(p.may, regexp.MustCompile(pattern))
}

// call runs a command of the protocol.
func call[P, R any](p *tab, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, c, params)
	if err != nil {
		p.t.Fatalf("%s: %v", c.Method, err)
	}
	return r
}

func (p *tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.text())
	}
}

// visit goes to an address and waits for the page's load.
func (p *tab) visit(url string) {
	p.t.Helper()
	p.do("go to "+url, chromedp.Navigate(url))
}

func (p *tab) reload() {
	p.t.Helper()
	p.do("reload", chromedp.Reload())
}

// click, enter and tap do what a person's mouse, keyboard and finger do, on what is visible.
func (p *tab) click(css string) {
	p.t.Helper()
	p.do("click "+css, chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

func (p *tab) tap(css string) {
	p.t.Helper()
	p.do("tap "+css, chromedp.Tap(chromedp.CSS(css), chromedp.NodeVisible))
}

func (p *tab) enter(css, keys string) {
	p.t.Helper()
	p.do("type into "+css, chromedp.SendKeys(chromedp.CSS(css), keys, chromedp.NodeVisible))
}

// pick gives files to the form, as its dialog does.
func (p *tab) pick(files ...string) {
	p.t.Helper()
	p.do("pick files", chromedp.SetUploadFiles(chromedp.CSS("#files"), files))
}

// eval evaluates an expression, whose promise it awaits.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", short(expression), err)
	}
	return v
}

// until waits until an expression is true, over reloads as well.
func (p *tab) until(expression string) {
	p.t.Helper()
	eventually(p.t, expression, func() (string, bool) {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if err != nil && p.ctx.Err() != nil {
			p.t.Fatal(p.ctx.Err())
		}
		if ok {
			return "", true
		}
		return fmt.Sprintf("%v on the page\n%s", err, p.text()), false
	})
}

// visible waits until there is an element that a person sees.
func (p *tab) visible(css string) { p.t.Helper(); p.until(isVisible(css)) }

// gone waits until there is none.
func (p *tab) gone(css string) { p.t.Helper(); p.until("!" + isVisible(css)) }

func isVisible(css string) string {
	return fmt.Sprintf("[...document.querySelectorAll(%q)].some(e => e.checkVisibility({visibilityProperty: true}))", css)
}

// text is what the page says, for whoever reads why a test failed.
func (p *tab) text() string {
	s, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.pathname + '\n' +
		(document.body?.innerText ?? '').slice(0, 3000) +
		[...document.querySelectorAll('li.upload, li.job')].slice(0, 9).map(e => '\n' + e.className + ' ' +
		JSON.stringify(e.dataset)).join('')`))
	if err != nil {
		return err.Error()
	}
	return s
}

func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// window makes the window so many pixels wide.
func (p *tab) window(width int) {
	p.t.Helper()
	p.size = chromedp.EmulateViewport(int64(width), 900)
	p.do("set the window's size", p.size)
}

// phone makes it a phone: 360 pixels wide, and touched.
func (p *tab) phone() {
	p.t.Helper()
	p.size = chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait,
		chromedp.EmulateScale(2))
	p.do("be a phone", p.size)
}

// scheme makes the person prefer light or dark.
func (p *tab) scheme(s string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: s}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// signIn signs in as georgio, whose address may be there already.
func (p *tab) signIn() {
	p.t.Helper()
	p.visible(signIn)
	if eval[string](p, "document.querySelector('#signin [name=email]').value") == "" {
		p.enter("#signin [name=email]", georgio)
	}
	p.enter("#signin [name=password]", password+"\r")
	p.until(usable)
}

// usable holds once a person who is signed in can pick files, and all modules are there.
var usable = `document.body.dataset.started === 'all' && !` + isVisible("#signin") + ` && ` + isVisible("#drop")

// look checks a view in every width and both schemes: nothing is cut off at the side, axe-core has nothing to say
// against it, and SCREENSHOTS gets a picture.
func (p *tab) look(name string) {
	p.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		for _, width := range []int{320, 360, 768, 1440} {
			p.do("set the window's size", chromedp.EmulateViewport(int64(width), 900))
			p.fits(name, width)
			if width == 360 || width == 1440 {
				p.axe(fmt.Sprintf("%s, %s, %d px", name, scheme, width))
			}
			if dir := os.Getenv("SCREENSHOTS"); dir != "" && width > 320 {
				p.picture(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), width)
			}
		}
	}
	p.scheme("light")
	p.do("set the window's size", p.size)
}

// fits checks that nobody must scroll sideways.
func (p *tab) fits(name string, width int) {
	p.t.Helper()
	wide := eval[[]string](p, `document.documentElement.scrollWidth <= innerWidth ? [] :
		[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e =>
		e.tagName + '#' + e.id + '.' + e.className).slice(0, 5)`)
	if n := eval[int](p, "document.documentElement.scrollWidth"); n > width {
		p.t.Errorf("%s is %d px wide in a window of %d px: %q", name, n, width, wide)
	}
}

// picture writes a screenshot of the page in a window that is as high as it, but for long lists.
func (p *tab) picture(file string, width int) {
	p.t.Helper()
	height := eval[int64](p, "Math.min(Math.max(900, document.documentElement.scrollHeight), 2400)")
	p.do("have the window as high as the page", chromedp.EmulateViewport(int64(width), height))
	p.settle()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o700))
	if err == nil {
		err = os.WriteFile(file, png, 0o600)
	}
	if err != nil {
		p.t.Errorf("screenshot: %v", err)
	}
}

// settle waits until the page has been drawn.
func (p *tab) settle() {
	p.t.Helper()
	eval[bool](p, "new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => f(true))))")
}

// axe has axe-core check the page.
func (p *tab) axe(name string) {
	p.t.Helper()
	for _, v := range p.violations() {
		p.t.Errorf("axe-core on %s: %s", name, v)
	}
}

// violations are what axe-core finds. It comes through the debugger, which the Content-Security-Policy does not stop.
func (p *tab) violations() []string {
	p.t.Helper()
	if !eval[bool](p, "typeof axe === 'object'") {
		p.do("load axe-core", chromedp.Evaluate[chromedp.Void](axe))
	}
	return eval[[]string](p, `axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>
		v.id + ': ' + v.help + v.nodes.slice(0, 5).map(n => '\n    ' + n.html.slice(0, 200) + '\n      ' +
		n.failureSummary.replaceAll('\n', '\n      ')).join('')))`)
}

// offline takes the line away, or gives it back.
func (p *tab) offline(on bool) {
	p.t.Helper()
	call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: on, DownloadThroughput: -1,
		UploadThroughput: -1})
	call(p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: on, DownloadThroughput: -1, UploadThroughput: -1}}})
}

// row is the selector of a job in the list.
func row(id string) string { return "li.job[data-id=" + strconv.Quote(id) + "]" }
