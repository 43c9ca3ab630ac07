package ffmpeg

import "testing"

// TestPart counts block by block what a part has of a sound, as aselect and atrim do.
func TestPart(t *testing.T) {
	t.Parallel()
	for _, p := range []Part{{-2, 7, 8}, {2, 7, 8}, {0, 3, 3}, {5, 1, 10}, {-3, 4, 20}, {-2, 7, 0}, {3, 9, 0}, {3, 0, 0}, {-2, 0, 0}} {
		var taken, period int64
		for block := range int64(50) {
			picked := block >= p.First
			if p.Period > 0 {
				picked = picked && (block-p.First)%p.Period < p.Length
			} else if p.Length > 0 {
				picked = picked && block-p.First < p.Length
			}
			for _, more := range []int64{0, 1, BlockSamples - 1} {
				want := taken * BlockSamples
				if picked {
					want += more
				}
				if got := p.Samples(block*BlockSamples + more); got != want {
					t.Errorf("%+v.Samples(%d blocks and %d) = %d, want %d", p, block, more, got, want)
				}
			}
			if !picked {
				continue
			}
			if p.Period > 0 {
				period = (block - p.First) / p.Period
			}
			if got := p.Shift(period); got != block-taken {
				t.Errorf("%+v.Shift(%d) = %d, want %d", p, period, got, block-taken)
			}
			taken++
		}
	}
}
