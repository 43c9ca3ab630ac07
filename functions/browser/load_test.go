//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/media"
	"github.com/soundstrip/soundstrip/functions/internal/sqlite"
)

// TestQuick measures the time from the navigation until the page can be used, with an empty cache: until the form to
// sign in is there, which posts by itself before the modules come, or the place for files and the list are.
func TestQuick(t *testing.T) { //nolint:paralleltest // it measures
	s := serve(t, nil)
	for view, ready := range map[string]string{
		"signed out": isVisible("#signin"),
		"signed in": isVisible("#drop") + ` && document.querySelector('#jobs').getAttribute('aria-busy') === 'false' && ` +
			isVisible("#none"),
	} {
		p := person(t, s.url)
		if view == "signed in" {
			p.signIn()
		}
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
			const look = () => document.readyState !== 'loading' && ` + ready + ` ? window.ready = performance.now() :
				requestAnimationFrame(look);
			requestAnimationFrame(look)`})
		var took []float64
		var asked string
		for range 9 {
			call(p, network.ClearBrowserCache, cdp.Empty{})
			p.visit(s.url)
			p.until("window.ready")
			took = append(took, eval[float64](p, "ready"))
			asked = eval[string](p, `(all => all.length + ' requests, ' + all.reduce((n, e) => n + e.transferSize, 0) +
				' bytes: ' + all.map(e => e.name.split('/').pop() + ' ' + Math.round(e.responseEnd)).join(', '))(
				[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].filter(e =>
				e.responseEnd < window.ready))`)
		}
		slices.Sort(took)
		t.Logf("%s: %.0f ms from the navigation until it can be used, the median of %.0f; %s", view, took[len(took)/2],
			took, asked)
	}
}

// TestMany shows 10,000 jobs.
func TestMany(t *testing.T) { //nolint:paralleltest // it measures
	data := t.TempDir()
	first := serve(t, map[string]string{"SOUNDSTRIP_DATA": data})
	var me struct{ ID string }
	if err := json.Unmarshal(first.ask("GET", "users/me", nil, nil), &me); err != nil {
		t.Fatal(err)
	}
	first.stop()
	many(t, filepath.Join(data, "soundstrip.db"), me.ID, 10_000)
	s := serve(t, map[string]string{"SOUNDSTRIP_DATA": data})
	p := person(t, s.url)
	p.visible(signIn)
	// By the thread's own clock, because others may have the processor meanwhile.
	call(p, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	before := p.work()
	p.signIn()
	p.visible("li.job")
	p.logWork("until the list is there", before)
	p.look("many")

	before = p.work()
	p.enter("#search", "job 1234 of")
	p.until(`[...document.querySelectorAll('li.job')].filter(e => e.checkVisibility()).length === 1`)
	p.logWork("until one of them is found", before)
	p.look("search")

	p.reload()
	p.visible("li.job")
	p.do("have the focus in the first row", chromedp.Focus(chromedp.CSS("li.job .play")))
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
	p.logWork("to scroll to the end", before)
	// The rows out of sight are not there, but for the one with the focus; the others stay where they were.
	if n := eval[int](p, "document.querySelectorAll('li.job').length"); n > 100 {
		t.Errorf("at the end of the list there are %d rows, want those that are seen", n)
	}
	for at, want := range map[string]string{"document.activeElement.closest('li')": "1 of 10000",
		"document.querySelector('#jobs').lastElementChild": "10000 of 10000"} {
		if got := eval[string](p, fmt.Sprintf("(e => e.ariaPosInSet + ' of ' + e.ariaSetSize)(%s)", at)); got != want {
			t.Errorf("%s is row %s, want %s", at, got, want)
		}
	}
	height := eval[float64](p, "document.querySelector('#jobs').offsetHeight")
	before = p.work()
	eval[bool](p, `new Promise(end => {
		const up = () => {
			if (scrollY === 0) return requestAnimationFrame(() => requestAnimationFrame(() => end(true)));
			scrollBy(0, -5000);
			setTimeout(up, 20);
		};
		up();
	})`)
	p.logWork("to scroll back", before)
	p.until(`document.elementFromPoint(900, 500).closest('li')`)
	if h := eval[float64](p, "document.querySelector('#jobs').offsetHeight"); math.Abs(h-height) > height/100 {
		t.Errorf("the list is %.0f px high, and was %.0f before it was scrolled", h, height)
	}
}

// work is what the main thread has done, in seconds of CPU.
type work struct{ all, scripts, layout float64 }

func (p *tab) work() (w work) {
	p.t.Helper()
	for _, m := range call(p, performance.GetMetrics, cdp.Empty{}).Metrics {
		switch m.Name {
		case "TaskDuration":
			w.all = m.Value
		case "ScriptDuration":
			w.scripts = m.Value
		case "LayoutDuration", "RecalcStyleDuration":
			w.layout += m.Value
		}
	}
	return w
}

func (p *tab) logWork(what string, before work) {
	p.t.Helper()
	now := p.work()
	p.t.Logf("main thread: %.2f s of CPU %s: scripts %.2f s, layout %.2f s; %d elements", now.all-before.all, what,
		now.scripts-before.scripts, now.layout-before.layout, eval[int](p, "document.querySelectorAll('*').length"))
}

// many puts jobs of a user into the database while nothing else has it open.
func many(t testing.TB, file, owner string, n int) {
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
		j := job.Job{ID: media.NewID(), Owner: owner, Username: georgio,
			Filename: fmt.Sprintf("job %d of many.mp4", i), State: job.Notified, Round: 1,
			Video: job.Video{Length: 1_000_000}, Progress: 100,
			MP3: &job.MP3{FID: media.NewID(), Length: 100_000, Duration: 60}}
		if _, err := jobs.Adopt(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
}
