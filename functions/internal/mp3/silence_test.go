package mp3

import (
	"bytes"
	"testing"
)

// TestSilence puts silence behind a frame: what a frame behind it may refer to is what it was.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   []byte
		n        int64
		constant bool
		want     int // bytes of main data that the silence must carry on
	}{
		{"one frame", []byte{0xff, 0xfb, 0x90, 0}, 1, false, 511},
		{"many of the least bitrate", []byte{0xff, 0xfb, 0x90, 0}, 40, false, 511},
		{"a constant bitrate", []byte{0xff, 0xfb, 0x90, 0}, 3, true, 511},
		{"mono at 8 kHz", []byte{0xff, 0xe3, 0x48, 0xc0}, 20, false, 255},
		{"with a CRC", []byte{0xff, 0xfa, 0x90, 0}, 5, true, 511},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, ok := ParseHeader(tt.header)
			if !ok {
				t.Fatal("no header")
			}
			var r Reservoir
			var all []byte // main data
			for i := range 4 {
				frame := append(bytes.Clone(tt.header), bytes.Repeat([]byte{byte(i + 1)}, h.Size-HeaderLen)...)
				r.Add(h, frame)
				all = append(all, frame[h.mainData():]...)
			}
			all = all[max(0, len(all)-tt.want):]
			var behind []byte
			count, sent := int64(0), 0
			err := r.Silence(h, tt.constant, tt.n, func(h Header, frame []byte) error {
				got, ok := ParseHeader(frame)
				if !ok || got.Size != len(frame) || got.Bitrate != h.Bitrate {
					t.Fatalf("frame of %d bytes says %+v", len(frame), got)
				}
				back := int(frame[4])<<1 | int(frame[5])>>7
				if h.lsf {
					back = int(frame[4])
				}
				if back > sent {
					t.Errorf("frame %d refers %d bytes back, of %d", count, back, sent)
				}
				if tail := frame[HeaderLen+2 : h.mainData()]; bytes.Count(tail, []byte{0}) != len(tail) {
					t.Errorf("frame %d is not silent", count)
				}
				behind = append(behind, frame[h.mainData():]...)
				sent += len(frame) - h.mainData()
				count++
				return nil
			})
			if err != nil || count != tt.n {
				t.Fatalf("Silence = %v, %d frames, want %d", err, count, tt.n)
			}
			if len(behind) < len(all) || !bytes.HasSuffix(behind, all) {
				t.Errorf("behind the silence %d bytes are not the %d of the frames in front of it", len(behind), len(all))
			}
		})
	}
}
