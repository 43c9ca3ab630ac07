//go:build !unix

package media

import "context"

// Free is of [Store].
func (*Folder) Free(context.Context) (int64, error) { return Unlimited, nil }
