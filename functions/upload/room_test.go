package upload

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/soundstrip/soundstrip/functions/internal/media"
)

// disk is a store on a disk with so many bytes free; below 0 it cannot tell.
type disk struct {
	media.Store
	free atomic.Int64
}

func (d *disk) Free(context.Context) (int64, error) {
	if n := d.free.Load(); n >= 0 {
		return n, nil
	}
	return 0, errStore
}

// TestNoRoom: below the floor videos are refused before their first byte, whichever way they come, and nothing is kept.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	const floor = 1 << 20
	form, kind := newForm(t, part{"file", string(video), `filename="a.mp4"`})
	for _, tt := range []struct {
		name, method, target string
		body                 []byte
		headers
		taken int
	}{
		{"form", "POST", "/upload", form, headers{"Content-Type": kind, "Tus-Resumable": ""}, 202},
		{"raw", "PUT", "/upload/a.mp4", video, headers{"Tus-Resumable": ""}, 202},
		{"tus", "POST", "/files", video, headers{"Upload-Length": "160012"}, 201},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTusSetup(t, 1<<30)
			d := &disk{Store: s.videos}
			s.serve(t, d, Config{MaxBytes: 1 << 30, Expires: time.Hour, MinFree: floor})
			for _, step := range []struct {
				free int64
				want int
			}{{floor - 1, 507}, {floor + 1, 507}, {floor + 1<<20, tt.taken}, {-1, tt.taken}} {
				d.free.Store(step.free)
				res := s.call(t, tt.method, tt.target, tt.body, tt.headers)
				if res.StatusCode != step.want {
					t.Errorf("%s %s with %d bytes free = %d, want %d", tt.method, tt.target, step.free, res.StatusCode, step.want)
				}
				if jobs, _ := s.count(t); step.want == 507 && jobs > 0 {
					t.Errorf("there are %d jobs of what was refused", jobs)
				}
			}
		})
	}
}

// TestRoomEnds has the disk become full while a video comes.
func TestRoomEnds(t *testing.T) {
	t.Parallel()
	s := newTusSetup(t, 1<<30)
	d := &disk{Store: s.videos}
	d.free.Store(1 << 30)
	cfg := Config{MaxBytes: 1 << 30, Expires: time.Hour, MinFree: 1 << 20}
	s.serve(t, d, cfg)
	path := s.begin(t, len(video), nil)
	s.patch(t, path, 0, video[:9000])
	d.free.Store(0)
	s.want(t, http.StatusInsufficientStorage, http.MethodPatch, path, video[9000:], at(9000))
	err := Room(d, cfg)(t.Context())
	if err == nil || !strings.Contains(err.Error(), "STORE_MIN_FREE") {
		t.Errorf("Room = %v, want that it names STORE_MIN_FREE", err)
	}
	c := &clientReader{bytes.NewReader(video), &uploader{videos: d, minFree: 1}, t.Context(), 0, 1 << 30}
	if n, err := c.Read(make([]byte, 9)); n != 9 || err != nil {
		t.Errorf("Read = %d, %v, want that not each is asked for", n, err)
	}
	c.read = roomEvery
	if n, err := c.Read(make([]byte, 9)); n != 0 || err == nil || errors.Is(err, errStore) {
		t.Errorf("Read after %d bytes = %d, %v, want that there is no room", roomEvery, n, err)
	}
	d.free.Store(1 << 30)
	if got := s.offset(t, path); got != 9000 {
		t.Errorf("the offset is %d, want 9000: an upload goes on when there is room again", got)
	}
	s.patch(t, path, 9000, video[9000:])
	s.wantJob(t, path, video)
}
