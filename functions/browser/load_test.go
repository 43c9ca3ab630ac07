//go:build browser

package browser

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// TestQuick logs the time from the navigation until the page can be used, with an empty cache.
func TestQuick(t *testing.T) { //nolint:paralleltest // it measures
	s := serve(t, nil)
	for _, view := range []string{"signed out", "signed in"} {
		p := person(t, s.url)
		if view == "signed in" {
			p.signIn()
		}
		call(p, network.ClearBrowserCache, cdp.Empty{})
		ready := map[string]string{"signed out": isVisible(signIn), "signed in": usable}[view]
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
			const look = () => ` + ready + ` && document.readyState !== 'loading' ? window.ready = performance.now() :
				requestAnimationFrame(look);
			look()`})
		p.visit(s.url)
		p.until("window.ready")
		t.Logf("%s: %.0f ms from the navigation until it can be used; %d bytes came", view, eval[float64](p, "ready"),
			eval[int](p, `performance.getEntries().reduce((n, e) => n + (e.transferSize ?? 0), 0)`))
	}
}

// TestMany shows 10,000 jobs.
func TestMany(t *testing.T) { //nolint:paralleltest // it measures
	data := t.TempDir()
	many(t, filepath.Join(data, "soundstrip.db"), 10_000)
	s := serve(t, map[string]string{"SOUNDSTRIP_DATA": data})
	p := person(t, s.url)
	p.visible(signIn)
	call(p, performance.Enable, performance.EnableParams{})
	before := p.work()
	p.signIn()
	p.visible("li.job")
	t.Logf("main thread: %.2f s until the list is there", p.work()-before)
	p.look("many")

	before = p.work()
	p.enter("#search", "job 1234 of")
	p.until(`[...document.querySelectorAll('li.job')].filter(e => e.checkVisibility()).length === 1`)
	t.Logf("main thread: %.2f s until one of them is found", p.work()-before)
	p.look("search")

	p.reload()
	p.visible("li.job")
	before = p.work()
	eval[bool](p, `new Promise(end => {
		const list = document.querySelector('#jobs');
		const down = () => {
			if (list.lastElementChild.textContent.includes('job 0 of many')) return end(true);
			scrollTo(0, 1e9);
			setTimeout(down, 20);
		};
		down();
	})`)
	t.Logf("main thread: %.2f s to scroll to the end; %d elements", p.work()-before,
		eval[int](p, "document.querySelectorAll('*').length"))
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
