package hub

// batch is a run of messages without a gap that goes to many followers. Each transport's
// bytes are made at most once and then shared by all of them.
type batch struct {
	channel  string
	epoch    string // of its offsets, see [Channel]
	messages []Message
	round    *round // in which sockets may gather it; nil: it leaves at once

	bytes [fullForms][]byte
	thin  *[forms - fullForms][]byte // nil as long as nobody wants them
}

// after returns the part of b behind an offset that it holds.
func (b *batch) after(offset uint64) batch {
	skip := int(offset + 1 - b.messages[0].Offset)
	return batch{channel: b.channel, epoch: b.epoch, messages: b.messages[skip:], round: b.round}
}

// encoded returns the messages as a transport has them.
func (b *batch) encoded(f form) []byte {
	made := b.made(f)
	if *made == nil {
		*made = transports[f].messages(b)
	}
	return *made
}

// made is where the bytes of a transport are kept.
func (b *batch) made(f form) *[]byte {
	if !f.thin() {
		return &b.bytes[f]
	}
	if b.thin == nil {
		b.thin = new([forms - fullForms][]byte)
	}
	return &b.thin[f-fullForms]
}

// encodeAll makes the bytes of every transport, so that goroutines may share b; in thin form only
// if somebody wants that.
func (b *batch) encodeAll(thin bool) {
	for f := range forms {
		if thin || !f.thin() {
			b.encoded(f)
		}
	}
}

// thinned returns b with the events in thin form.
func (b *batch) thinned() *batch {
	const about = 320 // bytes that such an event has
	text := make([]byte, 0, about*len(b.messages))
	thin := &batch{channel: b.channel, epoch: b.epoch, messages: make([]Message, len(b.messages))}
	for i, m := range b.messages {
		if m.Thin != nil {
			begin := len(text)
			text = m.Thin.AppendThin(text, b.channel)
			m.Event = text[begin:len(text):len(text)]
		}
		thin.messages[i] = m
	}
	return thin
}
