package media

import (
	"context"
	"fmt"
)

// Known tells which of the files, by id, are to be kept.
type Known func(ctx context.Context, files []Info) (map[string]bool, error)

// sweepBatch is how many files are asked about at once.
const sweepBatch = 500

// broom removes the files that are not known.
type broom struct {
	known   Known
	remove  func(ctx context.Context, id string) error
	files   []Info // not asked about yet
	removed int
}

func (b *broom) add(ctx context.Context, file Info) error {
	if b.files = append(b.files, file); len(b.files) < sweepBatch {
		return nil
	}
	return b.flush(ctx)
}

func (b *broom) flush(ctx context.Context) error {
	if len(b.files) == 0 {
		return nil
	}
	keep, err := b.known(ctx, b.files)
	if err != nil {
		return fmt.Errorf("sweep files: %w", err)
	}
	for _, f := range b.files {
		if keep[f.ID] {
			continue
		}
		if err := b.remove(ctx, f.ID); err != nil {
			return err
		}
		b.removed++
	}
	b.files = b.files[:0]
	return nil
}
