package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Encoding says what MP3 is to be made of a stream.
type Encoding struct {
	Stream      int           // index in the input
	Copy        bool          // the stream is MP3 already: take its frames as they are
	Bitrate     int           // constant, in kbit/s; 0 means variable
	Quality     int           // of a variable bitrate, 0 (best) to 9
	Start, End  time.Duration // in the input's time; an End of 0 is that of the input
	Timed       bool          // the input's times are kept: what is missing is silence
	Zero        time.Duration // then: where the MP3 begins, in the input's time
	Last        time.Duration // and when the last sound may begin: later ones have no true time
	Rate        int           // samples a second; 0 means those of the stream
	Mono        bool
	Mix         Mix
	Channels    int           // of the stream, for MixAll
	Float       bool          // the samples are floating-point numbers of a file, which may be none
	Gain        float64       // dB
	MaxDuration time.Duration // the sound is cut here
	MaxBytes    int64         // and here
	Jump        func(Jump)    // is told of each, before what follows it is read; nil when nobody cares
}

// Mix says how channels become one or two.
type Mix int

// The ways of mixing.
const (
	MixNone Mix = iota // there are no more than wanted, as far as is known
	MixDown            // by the coefficients of ITU-R BS.775-3, annex 4
	MixAll             // nobody knows what they are: the mean of the odd ones and that of the even ones, or of all
)

// Jump is a place in the stream whose time is not that at which the sound in front of it ends.
type Jump struct {
	At     time.Duration // where, in the MP3's time
	Length time.Duration // below 0 when the time goes back
	Filled bool          // with silence, so that the MP3 keeps the time
	Left   time.Duration // how much of that whoever reads the MP3 is to put in, in whole frames
}

// keptSilence is how much of a long pause is encoded, in seconds.
const keptSilence = 4

// numbers makes silence of what is no number, on which LAME aborts, and bounds what its sums cannot hold.
const numbers = `aeval=exprs='if(isnan(val(ch))+isinf(val(ch)),0,clip(val(ch),-64,64))':c=same`

// ceiling is the largest sample that a mix may have. What LAME makes of it stays below full scale, or nearly so.
const ceiling = ".8"

// filters are what the sound goes through. atrim cuts at the sample, where seeking would not.
func (e Encoding) filters(last ...string) string {
	var fs, resample []string
	if e.Float {
		fs = append(fs, numbers)
	}
	if e.Start > 0 || e.End > 0 {
		trim := "atrim=start=" + seconds(e.Start)
		if e.End > 0 {
			trim += ":end=" + seconds(e.End)
		}
		if fs = append(fs, trim); !e.Timed {
			fs = append(fs, "asetpts=PTS-STARTPTS")
		}
	}
	if e.Timed {
		fs = append(fs, "asetpts='"+e.clock()+"'")
		resample = append(resample, "async=1:min_comp=0:min_hard_comp=.02:first_pts=0")
	}
	format := "aformat=channel_layouts=mono|stereo"
	if e.Mono {
		format = "aformat=channel_layouts=mono"
	} else if e.Mix != MixNone {
		format = "aformat=channel_layouts=stereo"
	}
	if e.Rate > 0 {
		format += ":sample_rates=" + strconv.Itoa(e.Rate)
	}
	if e.Mix == MixDown {
		// ffmpeg scales the sum of integers down by 7.7 dB, and lets that of floating-point numbers be what it is.
		resample = append(resample, "isf=fltp:rematrix_maxval=1000")
		format += ",alimiter=limit=" + ceiling + ":level=0:latency=1"
	}
	if len(resample) > 0 {
		fs = append(fs, "aresample="+strings.Join(resample, ":"))
	}
	if e.Mix == MixAll {
		fs = append(fs, e.pan())
	}
	return strings.Join(append(append(fs, format), last...), ",")
}

// pan is the filter of [MixAll].
func (e Encoding) pan() string {
	mean := func(from, step int) string {
		var of []string
		n := (e.Channels - from + step - 1) / step
		for c := from; c < e.Channels; c += step {
			of = append(of, fmt.Sprintf("%.6f*c%d", 1/float64(n), c))
		}
		return strings.Join(of, "+")
	}
	if e.Mono || e.Channels == 1 {
		return "pan=mono|c0=" + mean(0, 1)
	}
	return "pan=stereo|c0=" + mean(0, 2) + "|c1=" + mean(1, 2)
}

// shortest is the shortest pause that is filled, in seconds.
const shortest = .05

// clock gives each frame a time that follows the one before it, or silence that [Encoding.filters] fills in. It prints
// what a [Jump] is made of. In numbers of samples: variable 0 is where the sound so far ends in the MP3's time, 1 what
// was left of long pauses, 2 where the frame is by its time, 3 how far that is behind, 4 what is left of that, 5 how
// far the time is off by jumps that are not filled.
func (e Encoding) clock() string {
	frame := "if(gt(SR,24000),1152,576)"
	if e.Rate > 0 {
		frame = fmt.Sprintf("%d*SR/%d", samplesOf(e.Rate), e.Rate)
	}
	return strings.NewReplacer("ZERO", seconds(e.Zero), "LAST", seconds(e.Last-e.Zero), "FRAME", frame, "KEPT",
		strconv.Itoa(keptSilence), "SHORTEST", fmt.Sprint(shortest)).Replace(
		`st(2,if(isnan(PTS),ld(0),PTS-round(ZERO*SR)));st(3,ld(2)-ld(0));` +
			`st(6,gte(ld(3),SHORTEST*SR)*lte(ld(2),LAST*SR));` +
			`st(4,if(ld(6),max(0,floor((ld(3)-if(eq(N,0),0,KEPT*SR))/(FRAME)))*(FRAME)));` +
			`if(ld(6),print(ld(0)/SR,40);print(ld(3)/SR,40);print(ld(4)/SR,40),` +
			`if(gte(abs(ld(3)-ld(5)),SHORTEST*SR),` +
			`print(ld(0)/SR,40);print((ld(3)-ld(5))/SR,40);print(-1,40);st(5,ld(3))));` +
			`st(1,ld(1)+ld(4));st(7,ld(0)+if(ld(6),ld(3)));st(0,ld(7)+S);` +
			`if(ld(6),st(5,0));round(ld(7)-ld(1))`)
}

// packets is clock for frames of MP3 that are copied. Whoever reads the MP3 puts all of the silence in, a whole number
// of frames; so variable 0 is in seconds, and a rest is made up for at the next pause.
func (e Encoding) packets() string {
	return strings.NewReplacer("ZERO", seconds(e.Zero), "LAST", seconds(e.Last-e.Zero), "FRAME",
		"if(gt(SR,24000),1152,576)/SR", "SHORTEST", fmt.Sprint(shortest)).Replace(
		`st(2,if(eq(PTS,NOPTS),ld(0),PTS*TB-ZERO));st(3,ld(2)-ld(0));` +
			`st(6,gte(ld(3),SHORTEST)*lte(ld(2),LAST));st(4,if(ld(6),round(ld(3)/(FRAME))*(FRAME)));` +
			`if(ld(6),print(ld(0),40);print(ld(4),40);print(ld(4),40),` +
			`if(gte(abs(ld(3)-ld(5)),SHORTEST),print(ld(0),40);print(ld(3)-ld(5),40);print(-1,40);st(5,ld(3))));` +
			`st(0,ld(0)+ld(4)+FRAME);if(ld(6),st(5,0));TS`)
}

// samplesOf is how many samples a frame of MP3 has.
func samplesOf(rate int) int {
	if rate > 24000 {
		return 1152
	}
	return 576
}

var printed = regexp.MustCompile(`^(?:\[Eval @ [^]]+\] )?\[verbose\] (-?\d+\.\d+)$`)

// jumps reads what clock and packets print.
func jumps(told func(Jump)) func(line string) {
	var ns []float64
	return func(line string) {
		m := printed.FindStringSubmatch(line)
		if m == nil || told == nil {
			return
		}
		n, _ := strconv.ParseFloat(m[1], 64)
		if ns = append(ns, n); len(ns) < 3 {
			return
		}
		duration := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
		told(Jump{At: duration(ns[0]), Length: duration(ns[1]), Filled: ns[2] >= 0, Left: duration(max(0, ns[2]))})
		ns = ns[:0]
	}
}

var encoded = regexp.MustCompile(`\[verbose\] +Output stream #0:0 \(audio\):.* frames encoded \((\d+) samples\)`)

// Encode makes the frames of an MP3, without any tag, and gives them to out. It tells how many samples (a channel) went
// into the encoder, 0 when the frames were copied or ffmpeg did not say.
//
// Level 5 of LAME's effort costs a fifth less CPU than ffmpeg's default and adds 1.5% of bytes at quality 2.
func (t *Tool) Encode(ctx context.Context, in Input, e Encoding, out func(io.Reader) error) (samples int64, err error) {
	args := append(in.args("level+verbose"), "-nostdin", "-nostats", "-map", "0:"+strconv.Itoa(e.Stream), "-vn", "-sn",
		"-dn",
		"-map_metadata", "-1", "-map_chapters", "-1", "-t", seconds(e.MaxDuration), "-fs", strconv.FormatInt(e.MaxBytes, 10))
	if e.Copy {
		args = append(args, "-c:a", "copy")
		if e.Timed {
			args = append(args, "-bsf:a", "setts=ts='"+e.packets()+"'")
		}
	} else {
		var last []string
		if e.Gain != 0 {
			last = append(last, "volume="+strconv.FormatFloat(e.Gain, 'f', 2, 64)+"dB")
		}
		args = append(args, "-af", e.filters(last...), "-c:a", "libmp3lame", "-compression_level", "5")
		if e.Bitrate > 0 {
			args = append(args, "-b:a", strconv.Itoa(e.Bitrate)+"k")
		} else {
			args = append(args, "-q:a", strconv.Itoa(e.Quality))
		}
	}
	args = append(args, "-write_xing", "0", "-id3v2_version", "0", "-flush_packets", "0", "-f", "mp3", "pipe:1")
	jump := jumps(e.Jump)
	err = t.run(ctx, t.ffmpeg, in, args, out, func(line string) {
		jump(line)
		if m := encoded.FindStringSubmatch(line); m != nil {
			samples, _ = strconv.ParseInt(m[1], 10, 64)
		}
	})
	return samples, err
}

// Loudness is that of a whole programme (EBU R 128).
type Loudness struct {
	Integrated float64 // LUFS
	Peak       float64 // true peak, dBTP
}

var (
	integrated = regexp.MustCompile(`^ +I: +(\S+) LUFS$`)
	truePeak   = regexp.MustCompile(`^ +Peak: +(\S+) dBFS$`)
)

// Loudness measures the sound as [Tool.Encode] would hear it, before its gain.
func (t *Tool) Loudness(ctx context.Context, in Input, e Encoding) (Loudness, error) {
	// What is never printed is not measured.
	l := Loudness{Integrated: math.NaN(), Peak: math.NaN()}
	args := append(in.args("level+info"), "-nostdin", "-nostats", "-map", "0:"+strconv.Itoa(e.Stream), "-vn", "-sn", "-dn",
		"-t", seconds(e.MaxDuration), "-af", e.filters("ebur128=framelog=verbose:peak=true"), "-f", "null", "pipe:1")
	err := t.run(ctx, t.ffmpeg, in, args, discard, func(line string) {
		if m := integrated.FindStringSubmatch(line); m != nil {
			l.Integrated, _ = strconv.ParseFloat(m[1], 64)
		} else if m := truePeak.FindStringSubmatch(line); m != nil {
			l.Peak, _ = strconv.ParseFloat(m[1], 64)
		}
	})
	if err == nil && (math.IsNaN(l.Integrated) || math.IsNaN(l.Peak)) {
		err = errors.New("ffmpeg did not tell the loudness")
	}
	return l, err
}

func discard(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// read reads at most limit bytes that a program writes.
func read(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("ffmpeg wrote more than %d bytes: %w", limit, ErrTooLarge)
	}
	return b, err
}

// ErrTooLarge says that a file tells more about itself than is read.
var ErrTooLarge = errors.New("too large")

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
