package media

import (
	"context"
	"fmt"
)

// Known tells which of the files, by id, are to be kept. Of one that was never committed only the id is known.
type Known func(ctx context.Context, files []Info) (map[string]bool, error)

// sweepBatch is how many files are asked about at once.
const sweepBatch = 500

// sweeper removes the files that are not known, and has the others kept. It asks about many at once.
type sweeper struct {
	known   Known
	keep    func(ctx context.Context, file Info) error
	remove  func(ctx context.Context, id string) (there bool, err error)
	files   []Info // not asked about yet
	removed int
}

func (s *sweeper) add(ctx context.Context, file Info) error {
	if s.files = append(s.files, file); len(s.files) < sweepBatch {
		return nil
	}
	return s.flush(ctx)
}

func (s *sweeper) flush(ctx context.Context) error {
	if len(s.files) == 0 {
		return nil
	}
	keep, err := s.known(ctx, s.files)
	if err != nil {
		return fmt.Errorf("sweep files: %w", err)
	}
	for _, f := range s.files {
		if keep[f.ID] {
			if err := s.keep(ctx, f); err != nil {
				return err
			}
			continue
		}
		there, err := s.remove(ctx, f.ID)
		if err != nil {
			return err
		}
		if there {
			s.removed++
		}
	}
	s.files = s.files[:0]
	return nil
}
