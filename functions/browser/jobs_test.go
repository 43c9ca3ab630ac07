//go:build browser

package browser

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	control "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// done waits until the list shows n jobs that have an MP3.
func (p *tab) done(n int) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.querySelectorAll(%q).length === %d", finished, n))
}

// TestPlay plays an MP3, seeks in it, changes its speed and goes to a chapter.
func TestPlay(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.signIn()
	chapters := write(t, "chapters", []byte(";FFMETADATA1\n"+
		"[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=30\ntitle=The beginning\n"+
		"[CHAPTER]\nTIMEBASE=1/1\nSTART=30\nEND=60\ntitle=The end\n"))
	p.pick(ffmpeg(t, "talk.mp4", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=5:d=60", "-f", "lavfi",
		"-i", "sine=f=440:d=60", "-i", chapters, "-map_metadata", "2", "-map_chapters", "2", "-map", "0:v", "-map", "1:a"))
	p.done(1)
	p.click("li.job .play")
	const audio = `document.querySelector('#player audio')`
	p.until(audio + "?.currentTime > 0 && !" + audio + ".paused && Math.round(" + audio + ".duration) === 60")
	p.look("player")

	p.do("seek", chromedp.SetValue(chromedp.CSS("#player input[type=range]"), "40"))
	p.until(audio + ".currentTime >= 40 && " + audio + ".readyState >= 3")
	p.do("play faster", chromedp.SetValue(chromedp.CSS("#player select"), "2"))
	p.until(audio + ".playbackRate === 2")
	if !eval[bool](p, isVisible("#player .chapters")) {
		p.click("#player [aria-controls=chapters]")
	}
	p.until(`document.querySelectorAll('#player .chapters button').length === 2`)
	p.look("chapters")
	p.click("#player .chapters li:nth-of-type(1) button")
	p.until(audio + ".currentTime < 30")
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
		if !bytes.HasPrefix(d, []byte("PK")) && !bytes.HasPrefix(d, []byte("ID3")) && !bytes.HasPrefix(d, []byte("\xff")) {
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
	_, err := chromedp.CallBrowser(p.ctx, control.SetDownloadBehavior, control.SetDownloadBehaviorParams{
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

// TestFailure sends what has no sound and what is no media.
func TestFailure(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	p := person(t, s.url)
	p.allow(`Failed to load resource`) // the server's own refusals
	p.signIn()
	p.pick(write(t, "notes.mp4", bytes.Repeat([]byte("this is no video\n"), 1000)), write(t, "empty.mp4", nil))
	p.until(`/is empty.*is not a video/i.test(document.querySelector('#error').innerText)`)
	if eval[bool](p, `document.querySelector('li.upload') !== null`) {
		t.Error("a text is sent")
	}
	p.click("#error button")
	p.gone("#error")
	for _, tt := range []struct {
		name, head string
		media      bool
	}{
		{"a.mp4", "\x00\x00\x00\x18ftypisom", true}, {"a.mp3", "ID3\x04\x00", true}, {"a.ts", "G@\x11\x10\x00", true},
		{"a.avi", "RIFF\x00\x10\x00\x00AVI LIST", true}, {"a.aac", "\xff\xf1\x50\x80", true}, {"a.bin", "\x00\x01", true},
		{"a.mp4", "%PDF-1.7\n\x00", false}, {"a.mp4", "PK\x03\x04\x14\x00", false}, {"a", "\x89PNG\r\n\x1a\n", false},
		{"a", "RIFF\x00\x10\x00\x00WEBPVP8 ", false}, {"a", "\x00\x00\x00\x18ftypheic", false},
		{"a", "<!doctype html>é", false}, {"a.srt", "\x00", false}, {".DS_Store", "\x00", false}, {"a.png", "\x00", false},
	} {
		got := eval[bool](p, fmt.Sprintf(`import(document.querySelector('script').src.replace('main', 'kinds')).then((m) =>
			m.mayBeMedia(new File([Uint8Array.from(atob(%q), (c) => c.charCodeAt(0))], %q, {type: %q})))`,
			base64.StdEncoding.EncodeToString([]byte(tt.head)), tt.name, map[bool]string{true: "image/png"}[tt.name == "a.png"]))
		if got != tt.media {
			t.Errorf("mayBeMedia(%s, %q) = %v", tt.name, tt.head, got)
		}
	}
	p.pick(write(t, "noise.mp4", bytes.Repeat([]byte{0, 1, 2, 3, 250, 251}, 1000))) // only the service knows what that is
	p.until(`/media/i.test(document.querySelector('li.upload[data-state=failed]')?.innerText)`)
	p.look("refused")
	for _, v := range s.jobs() {
		s.ask("DELETE", "jobs/"+v.ID, nil, nil)
	}

	p.pick(video(t, "silent.mp4", 2, "-map", "0:v"))
	p.until(`/sound|audio/i.test(document.querySelector('li.job[data-state=failed]')?.innerText)`)
	p.look("failed")
	v := s.ended(1)[0]
	p.click(row(v.ID) + " .retry")
	eventually(t, "the second round", func() (string, bool) {
		again := s.jobs()
		return fmt.Sprintf("%+v", again), len(again) == 1 && again[0].Round == 2 && again[0].State == "failed"
	})
	p.visible(row(v.ID) + "[data-state=failed] .delete")
	p.click(row(v.ID) + " .delete")
	p.confirm()
	p.gone(row(v.ID))
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
