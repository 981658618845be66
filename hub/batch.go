package hub

// batch is a run of messages without a gap that goes to many followers. Each transport's
// bytes are made at most once and then shared by all of them.
type batch struct {
	channel  string
	epoch    string // of its offsets, see [Channel]
	messages []Message
	round    *round // in which sockets may gather it; nil: it leaves at once

	bytes [forms][]byte
}

// after returns the part of b behind an offset that it holds.
func (b *batch) after(offset uint64) batch {
	skip := int(offset + 1 - b.messages[0].Offset)
	return batch{channel: b.channel, epoch: b.epoch, messages: b.messages[skip:], round: b.round}
}

// encoded returns the messages as a transport has them.
func (b *batch) encoded(f form) []byte {
	if b.bytes[f] == nil {
		b.bytes[f] = transports[f].messages(b)
	}
	return b.bytes[f]
}

// encodeAll makes the bytes of every transport, so that goroutines may share b.
func (b *batch) encodeAll() {
	for f := range forms {
		b.encoded(f)
	}
}
