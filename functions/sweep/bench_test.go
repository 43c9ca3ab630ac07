package sweep_test

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkSweep sweeps a store of many jobs, ten of which are due. Their files are not there: no folder is listed.
func BenchmarkSweep(b *testing.B) {
	for _, stored := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(stored), func(b *testing.B) {
			cfg := soon
			cfg.Unsent, cfg.Stuck, cfg.Grace = time.Hour, time.Hour, time.Hour
			s := newSetup(b, cfg)
			later := time.Now().Add(time.Hour)
			id := s.create(b, &later)
			// As many jobs like it, at rest.
			if _, err := s.db.ExecContext(b.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?)
INSERT INTO jobs (id, owner, state, mp3, owes, since, leased, expires, doc, kept)
SELECT printf('%024x', i), 'owner ' || (i % 1000), 'notified', printf('a%023x', i), 0, since, 0, expires, doc, 1
FROM jobs, n WHERE id = ?`, stored, id); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				due := time.Now()
				for range 10 {
					if _, err := s.jobs.Cancel(b.Context(), s.create(b, &due)); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if r, err := s.Sweep(b.Context()); err != nil || r.Expired+r.Videos != 10 {
					b.Fatalf("Sweep() = %+v, %v, want the 10 that are due removed", r, err)
				}
			}
		})
	}
}
