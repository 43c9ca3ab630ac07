//go:build browser

package browser

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
)

// TestUpload sends ten files, large and small, over a line that breaks, and reloads the page in the middle: all arrive,
// each once, and nearly nothing is sent twice.
func TestUpload(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := newLine(t, s)
	var files []string
	var size int64
	for _, megabytes := range []int{1, 300, 5, 20, 2, 60, 3, 10, 40, 4} {
		files = append(files, large(t, fmt.Sprintf("video of %d MB.avi", megabytes), megabytes))
		size += int64(megabytes) * 1_000_000
	}
	p := person(t, l.url)
	p.allow(`net::ERR|Failed to load resource`)
	p.signIn()

	l.set(func(l *line) { l.every, l.cuts, l.hold = 40_000_000, 3, 150_000_000 })
	p.pick(files...)
	p.until(fmt.Sprintf("document.querySelectorAll('li.upload, li.job').length >= %d", len(files)))
	<-l.held
	p.until(`[...document.querySelectorAll('li.upload[data-state=sending] progress')].some(e => e.position > 0 &&
		e.position < 1)`)
	p.look("sending")
	p.do("reload", chromedp.Reload())
	l.cut()
	l.release()
	p.until(usable)
	// What has not arrived is picked again: a page cannot read a file that an earlier one was given.
	arrived := s.jobs()
	p.pick(slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		return slices.ContainsFunc(arrived, func(v view) bool { return v.Filename == filepath.Base(f) })
	})...)
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

// kinds are videos as cameras, phones and programs write them.
var kinds = []struct {
	name  string
	args  []string
	whole bool // it is sent as it is
}{
	{"plain.mp4", []string{"-c:a", "aac"}, false},
	{"faststart.mp4", []string{"-c:a", "aac", "-movflags", "+faststart"}, false},
	{"fragmented.mp4", []string{"-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"}, false},
	{"camera.mov", []string{"-c:a", "pcm_s16le"}, false},
	{"phone.mov", []string{"-c:a", "aac", "-ar", "44100", "-ac", "1", "-tag:v", "mp4v"}, false},
	{"alac.mov", []string{"-c:a", "alac"}, false},
	{"mp3.mp4", []string{"-c:a", "libmp3lame"}, false},
	{"ac3.mp4", []string{"-c:a", "ac3"}, false},
	{"opus.mp4", []string{"-c:a", "libopus", "-ar", "48000"}, false},
	{"surround.m4v", []string{"-c:a", "aac", "-ac", "6", "-f", "mp4"}, false},
	{"two.mp4", []string{"-c:a", "aac", "-map", "0:v", "-map", "1:a", "-map", "1:a"}, false},
	{"titled.mp4", []string{"-c:a", "aac", "-metadata", "title=A title", "-metadata", "artist=An artist"}, false},
	{"phone.3gp", []string{"-c:a", "aac", "-ar", "22050", "-ac", "1"}, false},
	{"screen.mkv", []string{"-c:a", "libopus", "-c:v", "rawvideo", "-s", "960x540"}, false}, // 6 MB stay
}

// TestSound sends of MP4, MOV and Matroska the sound alone, of which the same MP3 is made as of the whole, to the bit.
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
		if up := l.sent() - before; up > int64(len(content))/2 && !k.whole {
			t.Errorf("%s: of %d bytes %d were sent, want the sound alone", k.name, len(content), up)
		}
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		for name, v := range byPage.Options {
			_ = w.WriteField(name, fmt.Sprint(v))
		}
		part, err := w.CreateFormFile("file", k.name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(content)
		w.Close()
		s.ask("POST", "upload", http.Header{"Content-Type": {w.FormDataContentType()}}, form.Bytes())
		whole := s.ended(2*i + 2)[0]
		if byPage.State != "notified" || whole.State != "notified" || byPage.Filename != k.name {
			t.Errorf("%s: the jobs ended %+v and %+v", k.name, byPage, whole)
		} else if !bytes.Equal(s.mp3(byPage.ID), s.mp3(whole.ID)) {
			t.Errorf("%s: the MP3 of the sound differs from that of the whole", k.name)
		}
	}
}

// TestTrim asks for a part of a video.
func TestTrim(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	p.options()
	p.enter("#options [name=start]", "1")
	p.enter("#options [name=end]", "0:03")
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
	fetched(t, http.DefaultClient, p.link(), "audio/mpeg")
}

// TestBehindTLS serves the page below a path, behind a proxy that ends TLS and has told the program its address.
func TestBehindTLS(t *testing.T) {
	t.Parallel()
	front := httptest.NewUnstartedServer(nil)
	public := "https://" + front.Listener.Addr().String() + "/sub/path/"
	s := serve(t, map[string]string{"PUBLIC_URL": public})
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = http.StripPrefix("/sub/path", &httputil.ReverseProxy{FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
		}})
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // Chromium ends handshakes of its own
	front.StartTLS()
	t.Cleanup(front.Close)
	p := person(t, "about:blank")
	call(p, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	p.visit(public)
	p.signIn()
	cookies := call(p, network.GetCookies, network.GetCookiesParams{}).Cookies
	if len(cookies) != 1 || cookies[0].Name != "__Host-soundstrip" || !cookies[0].Secure || !cookies[0].HTTPOnly {
		t.Errorf("the cookies are %+v, want one that is Secure", cookies)
	}
	p.pick(video(t, "below.mp4", 3))
	p.done(1)
	p.click("li.job .play")
	p.until(`document.querySelector('#player audio')?.currentTime > 0`)
	link := p.link()
	if !strings.HasPrefix(link, public) {
		t.Errorf("the link is %s, want it below %s", link, public)
	}
	fetched(t, front.Client(), link, "audio/mpeg")
	p.click("#signout")
	p.visible(signIn)
}

// TestWays takes a folder, files that are dropped, and one that is pasted.
func TestWays(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	talk, err := os.ReadFile(video(t, "talk.mp4", 2))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	put := func(name string, content []byte) {
		file := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("one.mp4", talk)
	put("deeper/two.mp4", talk)
	put("deeper/notes.txt", []byte("no video"))
	p.do("pick a folder", chromedp.SetUploadFiles(chromedp.CSS("#folder"), []string{folder}))
	p.done(2)
	p.gone("#error") // what else is in a folder is no fault

	put("three.mp4", talk)
	drop := &input.DragData{Items: []*input.DragDataItem{}, Files: []string{filepath.Join(folder, "three.mp4"),
		filepath.Join(folder, "deeper/notes.txt")}, DragOperationsMask: 1}
	for _, kind := range []input.DispatchDragEventType{"dragEnter", "dragOver", "drop"} {
		call(p, input.DispatchDragEvent, input.DispatchDragEventParams{Type: kind, X: 200, Y: 200, Data: drop})
		if kind == "dragOver" {
			p.until(`document.body.classList.contains('dropping')`)
			p.look("dropping")
		}
	}
	p.done(3)
	p.until(`document.querySelector('#error').innerText.includes('notes.txt')`)

	eval[bool](p, fmt.Sprintf(`(() => {
		const data = new DataTransfer();
		data.items.add(new File([Uint8Array.from(atob(%q), (c) => c.charCodeAt(0))], 'four.mp4', {type: 'video/mp4'}));
		return document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
	})()`, base64.StdEncoding.EncodeToString(talk)))
	p.done(4)
	var names []string
	for _, v := range s.ended(4) {
		names = append(names, v.Filename)
	}
	slices.Sort(names)
	if want := []string{"four.mp4", "one.mp4", "three.mp4", "two.mp4"}; !slices.Equal(names, want) {
		t.Errorf("the jobs are %q, want %q", names, want)
	}
}

// TestOptionsOfOne gives one of two files options of its own.
func TestOptionsOfOne(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	l := newLine(t, s)
	p := person(t, l.url)
	p.allow(`net::ERR|Failed to load resource`)
	p.signIn()
	l.set(func(l *line) { l.hold = l.up + 3_000_000 })
	p.pick(large(t, "all.avi", 8), large(t, "one.avi", 7))
	<-l.held
	one := `[aria-label="Options: one.avi"]`
	p.click(one)
	p.visible("#one")
	p.look("one")
	p.click("#one [name=mono]")
	p.enter("#one [name=track]", "?\r") // which is none: the dialog stays
	p.visible("#one-error")
	p.do("take the wrong track away", chromedp.SetValue(chromedp.CSS("#one [name=track]"), "1"))
	p.enter("#one [name=title]", "Of its own\r")
	p.gone("#one")
	l.release()
	for _, v := range s.ended(2) {
		want := map[string]any{}
		if v.Filename == "one.avi" {
			want = map[string]any{"mono": true, "title": "Of its own", "track": "1"}
		}
		if v.State != "notified" || !maps.Equal(v.Options, want) {
			t.Errorf("%s ended %s with %v, want the options %v", v.Filename, v.State, v.Options, want)
		}
	}
}
