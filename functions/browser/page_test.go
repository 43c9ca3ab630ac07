//go:build browser

package browser

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdp_browser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

const (
	signIn   = "#signin"
	finished = `li.job[data-state=notified], li.job[data-state=converted]`
)

// done waits until the list shows n jobs that have an MP3.
func (p *tab) done(n int) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelectorAll(%q).length === %d", finished, n))
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.visible(signIn)
	p.look("sign-in")

	p.allow(`status of 401`)
	p.type_("#signin [name=email]", georgio)
	p.type_("#signin [name=password]", "not this\r")
	p.visible("#error")
	p.until(`document.querySelector('#error').innerText.trim() !== ''`)
	p.look("sign-in-wrong")
	if got := eval[string](p, `document.querySelector('#signin [name=email]').value`); got != georgio {
		t.Errorf("after a wrong password the address is %q, want what was typed", got)
	}

	p.do("empty the password", chromedp.SetValue(chromedp.CSS("#signin [name=password]"), ""))
	p.type_("#signin [name=password]", password)
	p.click("#signin [type=submit], #signin button:not([type=button])")
	p.until(usable)
	p.gone("#error")
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

// TestExpired lets a session end while the page is open: the person is asked to sign in again, and goes on.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"JWT_TTL": "10s"})
	p := person(t, s.url)
	p.allow(`status of 40[13]`)
	p.signIn()
	p.visible(signIn)
	p.look("expired")
	if text := eval[string](p, "document.body.innerText"); !strings.Contains(strings.ToLower(text), "again") {
		t.Errorf("when the session has ended, the page says %q, want that one signs in again", text)
	}
	p.signIn()
	p.pick(video(t, "later.mp4", 2))
	s.ended(1)
}

// TestUpload sends large and small files over a line that breaks, and reloads the page in the middle: all arrive, each
// once, and nearly nothing is sent twice.
func TestUpload(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := newLine(t, s)
	var files []string
	var size int64
	for _, megabytes := range []int{1, 60, 5, 20, 2} {
		f := large(t, fmt.Sprintf("video of %d MB.avi", megabytes), megabytes)
		stat, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		files, size = append(files, f), size+stat.Size()
	}
	p := person(t, l.url)
	p.allow(`net::ERR|Failed to load resource`)
	p.signIn()

	l.set(func(l *line) { l.every, l.cuts, l.hold = 9_000_000, 3, 40_000_000 })
	p.pick(files...)
	p.until(fmt.Sprintf("document.querySelectorAll('li.upload, li.job').length >= %d", len(files)))
	<-l.held
	p.until(`[...document.querySelectorAll('li.upload[data-state=sending] progress')].some(e => e.position > 0 && e.position < 1)`)
	p.look("sending")
	p.do("reload", chromedp.Reload())
	l.cut()
	l.release()
	p.until(usable)
	// What the page cannot read any more is picked again.
	p.pick(files...)
	p.until(`document.querySelectorAll('li.upload:not([data-state=sent])').length === 0`)
	for _, v := range s.ended(len(files)) {
		if v.State != "notified" {
			t.Errorf("%s ended %s %+v", v.Filename, v.State, v.Error)
		}
	}
	p.done(len(files))
	p.look("jobs")
	// At the end of each connection, what is in flight is lost.
	if most := size + size/3; l.sent() > most {
		t.Errorf("for %d bytes of files %d were sent, want at most %d", size, l.sent(), most)
	}
}

// TestPause stops an upload and goes on, and drops another.
func TestPause(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := newLine(t, s)
	p := person(t, l.url)
	p.allow(`net::ERR|Failed to load resource`)
	p.signIn()
	l.set(func(l *line) { l.hold = l.up + 4_000_000 })
	p.pick(large(t, "paused.avi", 12))
	<-l.held
	p.click("li.upload .pause")
	p.visible("li.upload[data-state=paused]")
	p.look("paused")
	l.release()
	p.click("li.upload .resume")
	s.ended(1)
	p.done(1)

	l.set(func(l *line) { l.free, l.held, l.hold = make(chan struct{}), make(chan struct{}), l.up+4_000_000 })
	p.pick(large(t, "cancelled.avi", 13))
	<-l.held
	p.click("li.upload:not([data-state=sent]) .cancel")
	p.until(`document.querySelectorAll('li.upload:not([data-state=sent])').length === 0`)
	l.release()
	if all := s.jobs(); len(all) != 1 {
		t.Errorf("after a cancelled upload the jobs are %+v", all)
	}
}

// kinds are MP4 and MOV as cameras, phones and programs write them.
var kinds = []struct {
	name string
	args []string
}{
	{"plain.mp4", []string{"-c:a", "aac"}},
	{"faststart.mp4", []string{"-c:a", "aac", "-movflags", "+faststart"}},
	{"fragmented.mp4", []string{"-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"}},
	{"camera.mov", []string{"-c:a", "pcm_s16le"}},
	{"phone.mov", []string{"-c:a", "aac", "-ar", "44100", "-ac", "1", "-tag:v", "mp4v"}},
	{"alac.mov", []string{"-c:a", "alac"}},
	{"mp3.mp4", []string{"-c:a", "libmp3lame"}},
	{"ac3.mp4", []string{"-c:a", "ac3"}},
	{"opus.mp4", []string{"-c:a", "libopus", "-ar", "48000"}},
	{"surround.m4v", []string{"-c:a", "aac", "-ac", "6", "-f", "mp4"}},
	{"two.mp4", []string{"-c:a", "aac", "-map", "0:v", "-map", "1:a", "-map", "1:a"}},
	{"titled.mp4", []string{"-c:a", "aac", "-metadata", "title=A title", "-metadata", "artist=An artist"}},
	{"phone.3gp", []string{"-c:a", "aac", "-ar", "22050", "-ac", "1"}},
}

// TestSound sends of MP4 and MOV the sound alone, of which the same MP3 is made as of the whole, to the bit.
func TestSound(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := newLine(t, s)
	p := person(t, l.url)
	p.signIn()
	for i, k := range kinds {
		file := video(t, k.name, 4, k.args...)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before := l.sent()
		p.pick(file)
		byPage := s.ended(2*i + 1)[0]
		if up := l.sent() - before; up > int64(len(content))/2 {
			t.Errorf("%s: of %d bytes %d were sent, want the sound alone", k.name, len(content), up)
		}
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreateFormFile("file", k.name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(content)
		w.Close()
		s.ask("POST", "upload", http.Header{"Content-Type": {w.FormDataContentType()}}, &form)
		whole := s.ended(2*i + 2)[0]
		if byPage.State != "notified" || whole.State != "notified" || byPage.Filename != k.name {
			t.Errorf("%s: the jobs ended %+v and %+v", k.name, byPage, whole)
		} else if !bytes.Equal(s.mp3(byPage.ID), s.mp3(whole.ID)) {
			t.Errorf("%s: the MP3 of the sound differs from that of the whole", k.name)
		}
	}
}

// TestPlay plays an MP3, seeks in it, changes its speed and goes to a chapter.
func TestPlay(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	chapters := write(t, "chapters", []byte(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=30\ntitle=The beginning\n"+
		"[CHAPTER]\nTIMEBASE=1/1\nSTART=30\nEND=60\ntitle=The end\n"))
	p.pick(video(t, "talk.mp4", 60, "-i", chapters, "-map_metadata", "2", "-map_chapters", "2", "-map", "0:v", "-map", "1:a"))
	p.done(1)
	p.click("li.job .play")
	const audio = `document.querySelector('#player audio')`
	p.until(audio + "?.currentTime > 0 && !" + audio + ".paused && Math.round(" + audio + ".duration) === 60")
	p.look("player")

	eval[bool](p, audio+".currentTime = 40, true")
	p.until(audio + ".currentTime >= 40 && " + audio + ".readyState >= 3")
	p.until(`document.querySelectorAll('#player .chapters button, #player .chapters a').length === 2`)
	p.click("#player .chapters li:nth-of-type(2) button, #player .chapters button:nth-of-type(2)")
	p.until(audio + ".currentTime >= 30 && " + audio + ".currentTime < 40")
}

// TestZip selects two MP3s and downloads them in one file, and one by its link.
func TestZip(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	p.pick(video(t, "one.mp4", 2), video(t, "two.mp4", 3))
	s.ended(2)
	p.done(2)
	dir := p.downloads()
	for i := range 2 {
		p.click(fmt.Sprintf("#jobs li.job:nth-of-type(%d) input[type=checkbox]", i+1))
	}
	p.look("selected")
	p.click("#zip")
	content := p.downloaded(dir, 1)[0]
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatalf("the zip: %v", err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if want := []string{"one.mp3", "two.mp3"}; !slices.Equal(names, want) {
		t.Errorf("in the zip are %q, want %q", names, want)
	}
	p.click("li.job .download")
	for _, d := range p.downloaded(dir, 2) {
		if !bytes.HasPrefix(d, []byte("PK")) && !bytes.HasPrefix(d, []byte("ID3")) {
			t.Errorf("a download begins with %q", d[:8])
		}
	}

	for i := range 2 {
		if box := fmt.Sprintf("#jobs li.job:nth-of-type(%d) input[type=checkbox]", i+1); !eval[bool](p,
			fmt.Sprintf("document.querySelector(%q).checked", box)) {
			p.click(box)
		}
	}
	p.click("#delete")
	p.confirm()
	p.gone("li.job")
	if all := s.jobs(); len(all) != 0 {
		t.Errorf("after deleting all there are %+v", all)
	}
}

// confirm says yes where the page asks in a dialog of its own.
func (p *tab) confirm() {
	p.t.Helper()
	const yes = `document.querySelector('dialog[open] [value=yes], dialog[open] [type=submit], dialog[open] .danger')`
	if eval[bool](p, "new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => f(!!"+yes+"))))") {
		p.look("confirm")
		eval[bool](p, yes+".click(), true")
	}
}

// downloads lets the browser download into a folder.
func (p *tab) downloads() string {
	p.t.Helper()
	dir := p.t.TempDir()
	_, err := chromedp.CallBrowser(p.ctx, cdp_browser.SetDownloadBehavior, cdp_browser.SetDownloadBehaviorParams{
		Behavior: "allow", DownloadPath: dir, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID})
	if err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// downloaded waits until n files are in the folder.
func (p *tab) downloaded(dir string, n int) (contents [][]byte) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d downloads", n), func() (string, bool) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		return fmt.Sprint(files, err), len(files) == n && !slices.ContainsFunc(files, func(f string) bool {
			return strings.HasSuffix(f, ".crdownload") || strings.HasPrefix(filepath.Base(f), ".")
		})
	})
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			p.t.Fatal(err)
		}
		contents = append(contents, b)
	}
	return contents
}

// TestTrim asks for a part of a video.
func TestTrim(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	p.options()
	p.type_("#options [name=start]", "1")
	p.type_("#options [name=end]", "0:03")
	p.look("options")
	p.pick(video(t, "long.mp4", 6))
	v := s.ended(1)[0]
	if v.State != "notified" {
		t.Fatalf("the job ended %+v", v)
	}
	if d := seconds(t, s.mp3(v.ID)); d < 1.9 || d > 2.1 {
		t.Errorf("of second 1 to 3 the MP3 has %v s", d)
	}
}

// options opens the form of options where it is folded.
func (p *tab) options() {
	p.t.Helper()
	eval[bool](p, `document.querySelector('#options').closest('details')?.setAttribute('open', ''),
		document.querySelectorAll('#options details').forEach(d => d.open = true), true`)
}

// TestFailure sends what has no sound and what is no media.
func TestFailure(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.allow(`Failed to load resource`) // the server's own refusals
	p.signIn()
	p.pick(write(t, "notes.mp4", bytes.Repeat([]byte("this is no video\n"), 1000)))
	p.until(`/media|video|sound/i.test(document.querySelector('li.upload[data-state=failed], li.job[data-state=failed], #error')?.innerText)`)
	p.look("refused")
	for _, v := range s.jobs() {
		s.ask("DELETE", "jobs/"+v.ID, nil, nil)
	}

	p.pick(video(t, "silent.mp4", 2, "-map", "0:v"))
	p.until(`/sound|audio/i.test(document.querySelector('li.job[data-state=failed]')?.innerText)`)
	p.look("failed")
	v := s.ended(1)[0]
	p.click(job_(v.ID) + " .retry")
	eventually(t, "the second round", func() (string, bool) {
		again := s.jobs()
		return fmt.Sprintf("%+v", again), len(again) == 1 && again[0].Round == 2 && again[0].State == "failed"
	})
	p.visible(job_(v.ID) + "[data-state=failed] .delete")
	p.click(job_(v.ID) + " .delete")
	p.confirm()
	p.gone(job_(v.ID))
	eventually(t, "no jobs", func() (string, bool) { all := s.jobs(); return fmt.Sprintf("%+v", all), len(all) == 0 })
}

// TestOffline takes the line away while the page is open.
func TestOffline(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.allow(`ERR_INTERNET_DISCONNECTED`)
	p.signIn()
	p.gone("#offline")
	p.offline(true)
	p.visible("#offline")
	p.look("offline")
	p.pick(video(t, "waits.mp4", 2))
	p.visible("li.upload")
	p.offline(false)
	p.gone("#offline")
	s.ended(1)
	p.done(1)
}

// TestTwoTabs sends in one tab, and sees it in another.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	one := person(t, s.url)
	one.signIn()
	two := one.another(s.url)
	two.until(usable)
	one.pick(video(t, "seen.mp4", 3))
	two.done(1)
	one.done(1)
	two.click("li.job .delete")
	two.confirm()
	two.gone("li.job")
	one.reload()
	one.until(usable)
	one.gone("li.job")

	two.allow(`status of 40[13]`)
	one.click("#signout")
	one.visible(signIn)
	two.reload()
	two.visible(signIn)
}

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
	p.type_("#signin [name=email]", georgio)
	p.type_("#signin [name=password]", password)
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
	if small := eval[[]string](p, `[...document.querySelectorAll('button, a, input, select, summary')].filter(e =>
		e.checkVisibility()).map(e => [e, e.getBoundingClientRect()]).filter(([e, r]) => r.height < 24 || r.width < 24).filter(
		([e]) => !(e.labels?.length)).map(([e, r]) => e.outerHTML.slice(0, 120) + ' ' + r.width + '×' + r.height)`); len(small) > 0 {
		t.Errorf("too small for a finger (WCAG 2.2, 2.5.8): %q", small)
	}
	p.tap("#signout")
	p.visible(signIn)
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
			if !eval[bool](p, `((s) => s.outlineStyle !== 'none' || s.boxShadow !== 'none')(getComputedStyle(document.activeElement))`) {
				p.t.Errorf("%s has the focus, and nobody sees it", css)
			}
			return
		}
		p.keys("\t")
	}
	p.t.Fatalf("the tabulator does not come to %s", css)
}

// TestNoScript signs in, sends a file and reads the list without JavaScript.
func TestNoScript(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.reload()
	const email, pass = "form[action=session] [name=email]", "form[action=session] [name=password]"
	p.type_(email, georgio)
	p.type_(pass, password+"\r")
	p.visible("form[action=upload] [type=file]")
	p.do("pick a file", chromedp.SetUploadFiles(chromedp.CSS("form[action=upload] [type=file]"), []string{
		video(t, "form.mp4", 2)}))
	p.click("form[action=upload] button, form[action=upload] [type=submit]")
	s.ended(1)
	p.go_(s.url + "plain")
	p.until(`document.body.innerText.includes('form.mp4') && !!document.querySelector('a[href*=mp3]')`)
}

// TestBehindPath serves the page below a path, behind a proxy.
func TestBehindPath(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	front := newFront(t, http.StripPrefix("/sub/path", proxy))
	p := person(t, front+"/sub/path/")
	p.signIn()
	p.pick(video(t, "below.mp4", 3))
	p.done(1)
	p.click("li.job .play")
	p.until(`document.querySelector('#player audio')?.currentTime > 0`)
}

// TestQuick logs the time from the navigation until the page can be used, with an empty cache.
func TestQuick(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, view := range []string{"signed out", "signed in"} {
		p := person(t, "about:blank")
		if view == "signed in" {
			p.go_(s.url)
			p.signIn()
			call(p, network.ClearBrowserCache, cdp.Empty{})
		}
		ready := map[string]string{"signed out": isVisible(signIn), "signed in": usable}[view]
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
			const look = () => ` + ready + ` && document.readyState !== 'loading' ? window.ready = performance.now() :
				requestAnimationFrame(look);
			look()`})
		p.go_(s.url)
		p.until("window.ready")
		t.Logf("%s: %.0f ms from the navigation until it can be used; %d bytes came", view, eval[float64](p, "ready"),
			eval[int](p, `performance.getEntries().reduce((n, e) => n + (e.transferSize ?? 0), 0)`))
	}
}

// TestMany shows 10,000 jobs.
func TestMany(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	many(t, filepath.Join(data, "soundstrip.db"), 10_000)
	s := serve(t, map[string]string{"SOUNDSTRIP_DATA": data})
	p := person(t, s.url)
	p.visible(signIn)
	call(p, performance.Enable, performance.EnableParams{})
	before := p.work()
	p.signIn()
	p.visible("li.job")
	p.look("many")
	first := p.work()
	// Down to the end of the list, as far as it goes.
	p.until(`(() => {
		const last = [...document.querySelectorAll('li.job')].at(-1);
		last?.scrollIntoView();
		scrollTo(0, document.documentElement.scrollHeight);
		return [...document.querySelectorAll('li.job')].some(e => e.innerText.includes('job 0 of many'));
	})()`)
	t.Logf("main thread: %.2f s until the list is there and was looked at, %.2f s down to the end; %d elements", first-before,
		p.work()-first, eval[int](p, "document.querySelectorAll('*').length"))
	p.type_("#search", "job 1234 of")
	p.until(`[...document.querySelectorAll('li.job')].filter(e => e.checkVisibility()).length === 1`)
	p.look("search")
}

// work is what the main thread has done, in seconds.
func (p *tab) work() float64 {
	p.t.Helper()
	for _, m := range call(p, performance.GetMetrics, cdp.Empty{}).Metrics {
		if m.Name == "TaskDuration" {
			return m.Value
		}
	}
	p.t.Fatal("no TaskDuration")
	return 0
}

// many puts jobs into the database as it is before the program's first start.
func many(t testing.TB, file string, n int) {
	t.Helper()
	db, err := sqlite.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA synchronous = OFF"); err != nil {
		t.Fatal(err)
	}
	jobs, err := job.NewSQLite(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		j := job.Job{ID: media.NewID(), Owner: georgio, Filename: fmt.Sprintf("job %d of many.mp4", i), State: job.Notified,
			Round: 1, Video: job.Video{Length: 1_000_000}, Progress: 100,
			MP3: &job.MP3{FID: media.NewID(), Length: 100_000, Duration: 60}}
		if _, err := jobs.Adopt(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
}
