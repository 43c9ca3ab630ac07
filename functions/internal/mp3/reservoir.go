package mp3

// reservoir is how much room an encoder at a variable bitrate has left in front of the next frame, in bits, as LAME 3.100 reckons
// with it (VBR_new_iteration_loop in quantize.c, and reservoir.c).
type reservoir int

// limit is how much LAME leaves behind a frame at most.
func limit(h Header) reservoir {
	most, begin := reservoir(15360), reservoir(8*maxBegin)
	if h.lsf {
		most, begin = 7680, 8*255
	}
	return max(0, min(begin, most-8*reservoir(h.Size)))
}

// at gives the frame's header at the bitrate with an index.
func (h Header) at(index int) Header {
	b := h.identity
	b[2] = b[2]&0x0f | byte(index)<<4
	h, _ = ParseHeader(b[:])
	return h
}

// left is what there is behind a frame of that bitrate before anything is filled up.
func (r reservoir) left(f Frame, h Header) reservoir {
	return min(r, limit(h)) + 8*reservoir(h.area()) - reservoir(f.bits)
}

// choose gives a frame's header at the bitrate that LAME chooses: the lowest that has room for its data, or, if something of it can be
// heard, the highest that leaves no more than the next frame can use.
func (r reservoir) choose(f Frame, silent bool) Header {
	highest := 14
	if f.Rate < 16000 {
		highest = 8
	}
	i := 1
	for i < highest && r.left(f, f.at(i)) < 0 {
		i++
	}
	if !silent {
		for j := highest; j > i; j-- {
			if r.left(f, f.at(j)) <= limit(f.at(highest)) {
				return f.at(j)
			}
		}
	}
	return f.at(i)
}

// silent tells whether LAME found nothing in a frame that can be heard, by the bitrate that it chose; ok is false when LAME would have
// chosen neither.
func (r reservoir) silent(f Frame) (silent, ok bool) {
	loud, quiet := r.choose(f, false) == f.Header, r.choose(f, true) == f.Header
	if loud && quiet {
		return f.bits == 0, true
	}
	return quiet, loud || quiet
}

// add tells where a frame's data begins, and what is left behind it; that is less than nothing when there is no room for it. What is no
// whole byte, or more than the limit, is filled up: in front of the data as far as there is room, and then behind it.
func (r reservoir) add(f Frame) (begin int, rest reservoir) {
	rest = r + 8*reservoir(f.area()) - reservoir(f.bits)
	filled := rest % 8
	filled += max(0, rest-filled-limit(f.Header))
	return int(r/8 - min(r, max(0, filled))/8), rest - filled
}
