package login

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLogins has 300 people log in at once, each from a network of its own: the CPU time of one who was let
// in, the most memory that the process had, and how many were told to come again.
func BenchmarkLogins(b *testing.B) {
	const people = 300
	s := newHome(b)
	var busy atomic.Int64
	usage := func() (u syscall.Rusage) {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u
	}
	cpu := func(u syscall.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }
	log := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(log)
	before := cpu(usage())
	for b.Loop() {
		var wg sync.WaitGroup
		for n := range people {
			wg.Go(func() {
				r := httptest.NewRequest(http.MethodPost, "/login", http.NoBody)
				r.RemoteAddr = fmt.Sprintf("203.0.%d.%d:1", n/250, n%250)
				r.SetBasicAuth("georgio@email.com", "Admin123")
				w := httptest.NewRecorder()
				s.h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					busy.Add(1)
				}
			})
		}
		wg.Wait()
	}
	u := usage()
	b.ReportMetric(float64((cpu(u)-before).Milliseconds())/float64(people*int64(b.N)-busy.Load()), "cpu-ms/login")
	b.ReportMetric(float64(u.Maxrss)/1024, "MiB")
	b.ReportMetric(float64(busy.Load())/float64(b.N), "busy")
}
