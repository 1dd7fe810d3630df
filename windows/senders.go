package windows

// maxSenders bounds the senders of a window that are told apart, beside the unnamed ones: each has
// a share of what is reserved for those to whom others leave nothing.
const maxSenders = 15

// senderCount is how many samples of a sender a frame of the smallest tier has counted.
type senderCount struct {
	sender  uint64
	samples uint32
}

// room returns how many more samples of a sender the frame of the smallest tier may count. What
// max_rate allows is there for whoever comes first, but no sender can use up everything: one that
// has had less than its share, one in sixteen, may go on up to that share. So a window holds at
// most twice what max_rate allows, and only if many send.
func (f *frame) room(sh *Shard, sender uint64) int {
	left := max(0, sh.limits.maxSamples-int(f.samples))
	if left >= sh.limits.maxReserve {
		return left
	}
	own := int(f.samples)
	senders := f.rarely().senders
	for i := range senders {
		s := &senders[i]
		if s.sender == sender {
			return max(left, sh.limits.maxReserve-int(s.samples))
		}
		own -= int(s.samples)
	}
	switch {
	case sender == 0:
		return max(left, sh.limits.maxReserve-own)
	case len(senders) < maxSenders:
		return max(left, sh.limits.maxReserve)
	}
	return left
}

// decodeSenders reads the senders of a frame's encoding.
func (f *frame) decodeSenders(r *reader) {
	n := r.count(9)
	if n > maxSenders {
		r.bad = true
		return
	}
	if n == 0 {
		return
	}
	rare := f.own()
	for range n {
		s := senderCount{r.u64(), uint32(r.uvarint())}
		if s.sender == 0 || s.samples == 0 {
			r.bad = true
			return
		}
		rare.senders = append(rare.senders, s)
	}
}

// count records that n more samples of a sender were counted.
func (f *frame) count(sender uint64, n int) {
	f.samples += uint32(n)
	if sender == 0 || n == 0 {
		return
	}
	rare := f.own()
	for i := range rare.senders {
		if rare.senders[i].sender == sender {
			rare.senders[i].samples += uint32(n)
			return
		}
	}
	if len(rare.senders) < maxSenders {
		rare.senders = append(rare.senders, senderCount{sender, uint32(n)})
	}
}
