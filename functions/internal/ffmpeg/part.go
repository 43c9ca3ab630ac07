package ffmpeg

import "fmt"

// BlockSamples is the length of a block of sound, in samples a channel: a frame of MPEG-1, or two of MPEG-2.
const BlockSamples = 1152

// Part is what one of several encoders gets of the sound, in blocks: Length of every Period, from First on, which may lie before
// the beginning of the sound. Without a Period it gets that once, and without a Length all that follows.
type Part struct{ First, Length, Period int64 }

// filters picks the part from just what libmp3lame would have got of the whole: without the format of its own choice in front,
// ffmpeg could mix and resample at another precision.
func (p Part) filters() []string {
	pick := fmt.Sprintf("aselect='gte(n,%d)*lt(mod(n-(%d),%d),%d)'", p.First, p.First, p.Period, p.Length)
	if p.Period == 0 { // atrim ends the decoding, too
		pick = fmt.Sprintf("atrim=start_sample=%d", max(0, p.First)*BlockSamples)
		if p.Length > 0 {
			pick += fmt.Sprintf(":end_sample=%d", (p.First+p.Length)*BlockSamples)
		}
	}
	return []string{
		"aformat=sample_fmts=s32p|fltp|s16p:sample_rates=44100|48000|32000|22050|24000|16000|11025|12000|8000:channel_layouts=mono|stereo",
		fmt.Sprintf("asetnsamples=n=%d:p=0", BlockSamples),
		pick,
		"asetpts=N/SR/TB",
	}
}

// Shift is how far the blocks of the given period lie further back in the whole than in the part.
func (p Part) Shift(period int64) int64 {
	return max(0, p.First) + period*(p.Period-p.Length)
}

// Samples is how many samples a channel the part has of a whole of that many.
func (p Part) Samples(whole int64) int64 {
	if p.Period == 0 {
		to := whole
		if p.Length > 0 {
			to = min(whole, (p.First+p.Length)*BlockSamples)
		}
		return max(0, to-max(0, p.First)*BlockSamples)
	}
	x := whole/BlockSamples - p.First // whole blocks from First on; what is left of the last one counts where that is picked
	if x < 0 {
		return 0
	}
	n := (x/p.Period*p.Length + min(x%p.Period, p.Length) + min(0, p.First)) * BlockSamples
	if x%p.Period < p.Length {
		n += whole % BlockSamples
	}
	return n
}
