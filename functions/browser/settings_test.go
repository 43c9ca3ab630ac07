//go:build browser

package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// fetched gets what an address gives whoever has it, which is to be of a kind.
func fetched(t testing.TB, client *http.Client, url, kind string) string {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), kind) {
		t.Errorf("GET %s = %d %v, want %s", url, res.StatusCode, res.Header, kind)
	}
	return string(body)
}

// link makes a link to the first MP3.
func (p *tab) link() string {
	p.t.Helper()
	p.click("li.job .share")
	p.click("#share-make")
	p.visible("#share-url")
	p.look("link")
	url := eval[string](p, "document.querySelector('#share-url').value")
	p.click("#share [value=close]")
	p.gone("#share")
	return url
}

// TestAddresses makes a link and a podcast: both work without signing in, until they end.
func TestAddresses(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	p.pick(video(t, "shared.mp4", 2))
	p.done(1)
	fetched(t, http.DefaultClient, p.link(), "audio/mpeg")

	p.click("#podcast")
	p.click("#feed-make")
	p.visible("#feed-url")
	p.look("podcast")
	url := eval[string](p, "document.querySelector('#feed-url').value")
	if feed := fetched(t, http.DefaultClient, url, "application/rss+xml"); !strings.Contains(feed, "shared") {
		t.Errorf("the podcast is %s, want the MP3 in it", feed)
	}
	p.click("#feed-end")
	p.gone("#feed")
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("GET of a podcast that has ended = %d, want 404", res.StatusCode)
	}
}

// TestTold asks for notifications and sets a webhook: both tell that an MP3 is ready.
func TestTold(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		told <- string(b)
	}))
	t.Cleanup(hook.Close)
	s := serve(t, map[string]string{"WEBHOOK_ALLOW_PRIVATE": "true"})
	p := person(t, s.url)
	p.allow(`status of 404`) // there is no webhook yet
	// A browser without a screen shows no notifications.
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.shown = [];
		window.Notification = class {
			static permission = 'default';
			static async requestPermission() { return this.permission = 'granted'; }
			constructor(words) { window.shown.push(words); }
			close() {}
		};`})
	p.reload()
	p.signIn()
	p.click("#settings")
	p.visible("#config")
	p.click("#notify")
	p.enter("#webhook-url", hook.URL+"/hook\r")
	p.until(`document.querySelector('#webhook-secret').value.startsWith('whsec_')`)
	p.look("settings")
	p.click("#config [value=close]")
	p.gone("#config")
	eval[bool](p, `Object.defineProperty(document, 'hidden', {get: () => true}),
		document.dispatchEvent(new Event('visibilitychange'))`)
	p.pick(video(t, "told.mp4", 2))
	p.until(`window.shown.some((words) => words.includes('told.mp4'))`)
	if got := <-told; !strings.Contains(got, "told.mp4") {
		t.Errorf("the webhook gets %s", got)
	}

	p.click("#settings")
	p.click("#webhook-end")
	p.gone("#webhook-end")
	p.until(`document.querySelector('#webhook-url').value === ''`)
}

// TestAdmin shows an admin everyone's jobs, and another only their own.
func TestAdmin(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const ada, secret = "ada@example.com", "a long enough one"
	account, err := json.Marshal(map[string]string{"email": ada, "password": secret})
	if err != nil {
		t.Fatal(err)
	}
	s.ask("POST", "users", http.Header{"Content-Type": {"application/json"}}, account)
	other := person(t, s.url)
	other.enter("#signin [name=email]", ada)
	other.enter("#signin [name=password]", secret+"\r")
	other.until(usable)
	other.pick(video(t, "of ada.mp4", 2))
	other.done(1)
	other.gone("#whose")

	p := person(t, s.url)
	p.signIn()
	p.pick(video(t, "of georgio.mp4", 2))
	p.done(1)
	p.do("choose everyone's", chromedp.SetValue(chromedp.CSS("#owner"), "*"))
	p.done(2)
	p.until(fmt.Sprintf(`document.querySelector('#jobs').innerText.includes(%q)`, ada))
	p.until(`/0 converters at work.*0 waiting.*kB of MP3s stored/s.test(document.querySelector('#admin').innerText)`)
	p.look("admin")
}
