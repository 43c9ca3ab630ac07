package mp3

import "encoding/binary"

// maxReservoir is how many bytes of main data a frame can refer back to: main_data_begin has nine bits (ISO/IEC
// 11172-3, section 2.4.1.7), and eight at lower sampling frequencies (13818-3, section 2.4.1.7).
const maxReservoir = 1<<9 - 1

// Reservoir keeps the end of a stream's main data, to which the next frame may refer. So silence can be put between any
// two frames.
type Reservoir struct{ data []byte }

// Add takes the next frame.
func (r *Reservoir) Add(h Header, frame []byte) {
	r.data = append(r.data, frame[min(len(frame), h.mainData()):]...)
	if over := len(r.data) - maxReservoir; over > 0 {
		r.data = append(r.data[:0], r.data[over:]...)
	}
}

// mainData is where in the frame its main data begin.
func (h Header) mainData() int {
	at := HeaderLen + h.sideInfo()
	if h.identity[1]&1 == 0 {
		at += 2 // CRC
	}
	return at
}

// Silence makes n silent frames of the same kind as like, of its bitrate or of the least. The last of them carry the
// main data in front of them on to the frame that follows: their own are empty.
func (r *Reservoir) Silence(like Header, constant bool, n int64, write func(Header, []byte) error) error {
	h := like.with(like.identity[2] >> 4)
	if !constant {
		h = like.with(1)
	}
	room := h.Size - h.mainData()
	carriers := max(1, min(n, int64(len(r.data)+room-1)/int64(room)))
	last := h
	load := func() int { return (int(carriers)-1)*room + last.Size - last.mainData() }
	for load() < len(r.data) && last.identity[2]>>4 < 14 {
		last = last.with(last.identity[2]>>4 + 1)
	}
	data := append(make([]byte, max(0, load()-len(r.data))), r.data...)
	data = data[len(data)-load():]
	for i := range n {
		if i == n-1 {
			h = last
		}
		frame := make([]byte, h.Size)
		copy(frame, h.identity[:])
		if k := int(i - (n - carriers)); k >= 0 {
			copy(frame[h.mainData():], data[k*room:])
			h.refer(frame, k*room)
		}
		if err := write(h, frame); err != nil {
			return err
		}
	}
	r.data = append(r.data[:0], data[max(0, len(data)-maxReservoir):]...)
	return nil
}

// with is the header with another bitrate, by its index, without CRC and padding.
func (h Header) with(bitrate byte) Header {
	b := h.identity
	b[1] |= 1
	b[2] = bitrate<<4 | b[2]&0x0d
	h, _ = ParseHeader(b[:])
	return h
}

// refer says that the main data begin so many bytes in front of the frame, as far as that can be said.
func (h Header) refer(frame []byte, back int) {
	side := frame[HeaderLen:]
	if h.lsf {
		side[0] = byte(min(back, 1<<8-1))
		return
	}
	binary.BigEndian.PutUint16(side, uint16(min(back, maxReservoir))<<7)
}
