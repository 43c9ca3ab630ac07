package mp4

import (
	"bytes"
	"math"
	"slices"
)

// codec is how Matroska tells of what is in a sound description.
type codec struct {
	id       string
	private  []byte
	rate     uint32
	channels uint32
	bits     uint16 // of a sample of PCM
	core     uint32 // the rate of what is coded, where that of the output is another; the track's time may have it, too
	frame    uint64 // samples of a frame at most, where that is known
	delay    uint64 // what the decoder leaves out at the beginning by itself, in samples
}

// codecOf reads a sound description (ISO/IEC 14496-12, section 12.2; QuickTime File Format, sound sample descriptions);
// false for what is not written as Matroska. The layer is that of MPEG audio, if the samples are such frames.
func codecOf(d []byte, layer int) (c codec, ok bool) {
	if len(d) < 36 || int64(be.Uint32(d)) != int64(len(d)) {
		return c, false // there is another description
	}
	c = codec{channels: uint32(be.Uint16(d[24:])), rate: be.Uint32(d[32:]) >> 16}
	header := 36
	switch be.Uint16(d[16:]) {
	case 0:
	case 1:
		header = 52
	case 2:
		header = 72
	default:
		return c, false
	}
	if len(d) < header {
		return c, false
	}
	if header == 72 {
		c.rate, c.channels = uint32(math.Float64frombits(be.Uint64(d[40:]))), be.Uint32(d[48:])
	}
	more := boxes(d[header:])
	wave := boxes(more.find("wave"))
	switch kind := string(d[4:8]); kind {
	case "mp4a":
		esds := more.find("esds")
		if esds == nil {
			esds = wave.find("esds")
		}
		return c.esds(esds, layer)
	case ".mp3", "ms\x00\x55":
		c.id = "A_MPEG/L3"
		return c, layer == 3
	case "ac-3":
		c.id, c.frame = "A_AC3", 1536
		return c, true
	case "ec-3":
		c.id, c.frame = "A_EAC3", 1536
		return c, true
	case "mlpa":
		c.id, c.rate = "A_TRUEHD", be.Uint32(d[32:]) // no fixed-point number there
		return c, true
	case "alac":
		cookie := more.find("alac")
		if cookie == nil {
			cookie = wave.find("alac")
		}
		return c.alac(cookie)
	case "fLaC":
		c.id = "A_FLAC"
		dfla := more.find("dfLa")
		if len(dfla) < 4+4+34 {
			return c, false
		}
		c.private = slices.Concat([]byte("fLaC"), dfla[4:])
		return c, true
	case "Opus":
		return c.opus(more.find("dOps"))
	case "sowt", "twos", "in24", "in32", "fl32", "fl64":
		bits := 8 * uint16(bytesAChannel[kind])
		enda := wave.find("enda")
		little := kind == "sowt" || len(enda) >= 2 && be.Uint16(enda) == 1
		if pcm, ok := c.pcm(bits, kind[:2] == "fl", little, be.Uint16(d[26:]) != 8); ok || little {
			return pcm, ok
		}
		c.bits = bits
		return c.quickTime(d)
	case "ulaw", "alaw", "raw ":
		c.bits = 8
		return c.quickTime(d)
	case "ima4", "agsm":
		return c.quickTime(d)
	case "samr", "sawb":
		c.channels = 1 // whatever is said
		return c.quickTime(d)
	case "ms\x00\x02", "ms\x00\x11":
		c.id, c.private = "A_MS/ACM", bytes.Clone(wave.find(kind))
		return c, len(c.private) >= 18
	case "lpcm":
		if header != 72 {
			return c, false
		}
		const isFloat, bigEndian, signed = 1, 2, 4
		flags := be.Uint32(d[60:])
		bits := uint16(be.Uint32(d[56:]))
		return c.pcm(bits, flags&isFloat != 0, flags&bigEndian == 0, flags&signed != 0 && bits > 8)
	}
	return c, false
}

// surely gives the channels where the description tells them for sure, and there are no more than two; otherwise 0.
func (c codec) surely() int {
	channels := c.channels
	switch c.id {
	case "A_AAC":
		channels = be.Uint32(append(slices.Clone(c.private), 0, 0, 0, 0)) >> 19 & 15
	case "A_AC3", "A_EAC3", "A_DTS", "A_TRUEHD", "A_VORBIS":
		return 0
	}
	if channels > 2 {
		return 0
	}
	return int(channels)
}

// pcm is false for what Matroska has no name for.
func (c codec) pcm(bits uint16, float, little, signed bool) (codec, bool) {
	c.bits = bits
	switch {
	case float:
		c.id = "A_PCM/FLOAT/IEEE"
		return c, little && (bits == 32 || bits == 64)
	case little:
		c.id = "A_PCM/INT/LIT"
	default:
		c.id = "A_PCM/INT/BIG"
	}
	return c, signed && (bits == 16 || bits == 24 || bits == 32)
}

// quickTime is what Matroska says by the sound description itself.
func (c codec) quickTime(d []byte) (codec, bool) {
	c.id, c.private = "A_QUICKTIME", bytes.Clone(d)
	return c, true
}

// alac takes the decoder's configuration out of its box.
func (c codec) alac(cookie []byte) (codec, bool) {
	const config = 24
	if len(cookie) < 4+config {
		return c, false
	}
	c.id, c.private = "A_ALAC", bytes.Clone(cookie[4:])
	c.rate = be.Uint32(c.private[20:])
	return c, true
}

// opus makes Ogg's header, which Matroska has as well, of the box (Encapsulation of Opus in ISO Base Media File Format,
// section 4.3.2; RFC 7845, section 5.1).
func (c codec) opus(dops []byte) (codec, bool) {
	if len(dops) < 11 || dops[0] != 0 {
		return c, false
	}
	c.id, c.rate, c.delay = "A_OPUS", 48000, uint64(be.Uint16(dops[2:]))
	c.private = append([]byte("OpusHead\x01"), dops[1:]...)
	slices.Reverse(c.private[10:12])
	slices.Reverse(c.private[12:16])
	slices.Reverse(c.private[16:18])
	return c, true
}

// esds reads an elementary stream descriptor (ISO/IEC 14496-1, section 7.2.6.5).
func (c codec) esds(b []byte, layer int) (codec, bool) {
	const es, config, specific = 3, 4, 5
	if len(b) < 4 {
		return c, false
	}
	b = descriptor(b[4:], es)
	if len(b) < 3 || b[2]&0xe0 != 0 {
		return c, false // with what is optional
	}
	b = descriptor(b[3:], config)
	if len(b) < 13 {
		return c, false
	}
	switch kind := b[0]; {
	case layer == 2 || layer == 3:
		c.id = "A_MPEG/L3" // the decoder that ffmpeg takes of an MP4 for both
		return c, kind == 0x69 || kind == 0x6b
	case kind == 0xa5:
		c.id, c.frame = "A_AC3", 1536
		return c, true
	case kind == 0xa6:
		c.id, c.frame = "A_EAC3", 1536
		return c, true
	case kind == 0xa9:
		c.id = "A_DTS"
		return c, true
	case kind == 0xdd:
		c.id, c.private = "A_VORBIS", bytes.Clone(descriptor(b[13:], specific))
		return c, len(c.private) > 0
	case kind != 0x40 && kind != 0x66 && kind != 0x67 && kind != 0x68:
		return c, false
	}
	c.id, c.private = "A_AAC", bytes.Clone(descriptor(b[13:], specific))
	return c.aac()
}

// aac reads the rate of an AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1); where it tells of spectral band
// replication, that of the output.
func (c codec) aac() (codec, bool) {
	const main, lc, ltp, sbr, ps = 1, 2, 4, 5, 29
	rates := []uint32{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	var head [4]byte
	if copy(head[:], c.private) < 2 {
		return c, false
	}
	bits := be.Uint32(head[:]) // profile 5, rate 4, channels 4, rate of the output 4
	profile, core, out := bits>>27, int(bits>>23&15), int(bits>>15&15)
	switch {
	case core >= len(rates):
		return c, false
	case profile == main || profile == lc || profile == ltp:
		c.rate, c.frame = rates[core], 1024
		return c, true
	case (profile == sbr || profile == ps) && out < len(rates):
		c.core, c.rate, c.frame = rates[core], rates[out], 2048
		return c, true
	}
	return c, false
}

// descriptor gives the content of the descriptor that b begins with, if it has the tag.
func descriptor(b []byte, tag byte) []byte {
	if len(b) == 0 || b[0] != tag {
		return nil
	}
	size := 0
	for i := 1; i < min(5, len(b)); i++ {
		size = size<<7 | int(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			return b[i+1:][:min(size, len(b)-i-1)]
		}
	}
	return nil
}
