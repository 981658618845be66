package hub

// batch is a run of messages without a gap that goes to many followers. Each transport's
// bytes are made at most once and then shared by all of them.
type batch struct {
	channel  string
	epoch    string // of its offsets, see [Channel]
	messages []Message
	round    *round // in which sockets may gather it; nil: it leaves at once

	// Of a stream.
	top    uint64 // how far its channel was when the messages were read, or told of
	cursor uint64 // see cursors

	bytes [fullForms][]byte
	more  *[forms - fullForms][]byte // nil as long as nobody wants them
}

// after returns the part of b behind an offset that it holds. ok is false if that is inside of a
// message.
func (b *batch) after(offset uint64) (rest batch, ok bool) {
	skip := 0
	for skip < len(b.messages) && b.messages[skip].Offset <= offset {
		skip++
	}
	rest = batch{channel: b.channel, epoch: b.epoch, messages: b.messages[skip:], round: b.round, top: b.top, cursor: b.cursor}
	return rest, skip < len(b.messages) && rest.messages[0].first() == offset+1
}

// head returns the first n messages of b.
func (b *batch) head(n int) batch {
	return batch{channel: b.channel, epoch: b.epoch, messages: b.messages[:n], round: b.round, top: b.top, cursor: b.cursor}
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
	if f < fullForms {
		return &b.bytes[f]
	}
	if b.more == nil {
		b.more = new([forms - fullForms][]byte)
	}
	return &b.more[f-fullForms]
}

// encodeAll makes the bytes of the transports that somebody has, so that goroutines may share b.
func (b *batch) encodeAll(used formSet) {
	for f := range forms {
		if used.has(f) {
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
