//go:build unix

package media

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Free is of [Store].
func (s *Folder) Free(context.Context) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.dir, &stat); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil //nolint:unconvert // their types differ between systems
}
