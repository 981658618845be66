package hub

// backlog is what waits for a socket that is full, or for the end of a round, in order. A
// connection has one only meanwhile. Everything here is under the outbox's mutex.
type backlog struct {
	gathers     bool // for the end of a round: no flusher is at work
	first, last *waiting
	bytes       int           // of what waits, and of what is in the flusher's hands
	pushed      uint64        // how many there have been
	room        chan struct{} // closed when there is room for history; nil if nobody waits for that
	writable    chan struct{} // closed when the flusher should try again; nil if it does not wait

	unseen *waiting             // the first that coalesce has not seen
	newest map[subject]*waiting // of what it has: the progress that waits, one of each subject
}

// waiting is something that leaves as a whole: a message, a frame, a page of history.
type waiting struct {
	prev, next *waiting
	number     uint64
	bytes      []byte  // shared, never changed
	event      About   // what coalesce may ask; nil for what stays in any case
	subject    subject // of such an event; its name once coalesce has asked
	thin       bool    // only progress says again what such progress says
}

// subject is what an event tells of. A newer one in the same channel supersedes it.
type subject struct{ channel, name string }

func (q *backlog) push(w *waiting) {
	q.pushed++
	w.number, w.prev = q.pushed, q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	if q.unseen == nil {
		q.unseen = w
	}
	q.last = w
	q.bytes += len(w.bytes)
}

// pushMessages pushes what a socket has not taken of a batch's bytes. The message that has
// left in part stays whatever comes; of the others each is by itself, but for those of a stream, of
// which none is ever left out.
func (q *backlog) pushMessages(b *batch, f form, taken int) {
	if f.ofStream() {
		q.push(&waiting{bytes: b.encoded(f)[taken:]})
		return
	}
	t, rest := transports[f], b.encoded(f)
	for _, m := range b.messages {
		size := t.first(rest)
		one := &waiting{bytes: rest[:size:size]}
		if rest = rest[size:]; taken >= size {
			taken -= size
			continue
		}
		if taken > 0 {
			one.bytes, taken = one.bytes[taken:], 0
		} else {
			one.event, one.subject.channel, one.thin = m.About, b.channel, f.thin()
		}
		q.push(one)
	}
}

// remove takes w out. Its bytes still count if they are kept.
func (q *backlog) remove(w *waiting) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	if q.unseen == w {
		q.unseen = w.next
	}
	if q.newest[w.subject] == w {
		delete(q.newest, w.subject)
	}
}

// take removes from the front what is to be written together, at most so many bytes, unless
// one is larger by itself, and so many buffers, and appends it to dst. It still counts.
func (q *backlog) take(dst [][]byte, bytes, buffers int) (_ [][]byte, size int) {
	for w := q.first; w != nil && (size == 0 || size+len(w.bytes) <= bytes && len(dst) < buffers); w = q.first {
		q.remove(w)
		dst = append(dst, w.bytes)
		size += len(w.bytes)
	}
	return dst, size
}

// skip removes from the front what was written of it.
func (q *backlog) skip(written int) {
	q.bytes -= written
	for w := q.first; w != nil && written > 0; w = q.first {
		if n := len(w.bytes); n > written {
			w.bytes, w.event = w.bytes[written:], nil // it has begun
			return
		}
		q.remove(w)
		written -= len(w.bytes)
	}
}

// coalesce drops progress that is superseded by a newer event of its subject behind it in the
// same channel, in thin form by newer progress, because only that says all of it again, and returns
// how many events that were. Each message is looked at once, so that a connection that stays at its
// bound costs no more for each message.
func (q *backlog) coalesce() (dropped uint64) {
	if q.newest == nil {
		q.newest = make(map[subject]*waiting)
	}
	for w := q.unseen; w != nil; w = w.next {
		if w.event == nil {
			continue
		}
		name, progress := w.event.Subject()
		if w.event = nil; name == "" {
			continue
		}
		of := subject{w.subject.channel, name}
		switch old := q.newest[of]; {
		case old == nil:
		case old.thin && !progress:
			delete(q.newest, of) // it stays
		default:
			q.remove(old)
			q.bytes -= len(old.bytes)
			dropped++
		}
		if progress {
			w.subject = of
			q.newest[of] = w
		}
	}
	q.unseen = nil
	return dropped
}

// truncate drops what was pushed after the first so many.
func (q *backlog) truncate(pushed uint64) {
	for q.last != nil && q.last.number > pushed {
		q.bytes -= len(q.last.bytes)
		q.remove(q.last)
	}
}
