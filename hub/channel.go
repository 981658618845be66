package hub

import (
	"context"
	"runtime"
	"sync"
)

// channel is one followed channel on this node.
type channel struct {
	hub   *Hub
	shard *shard
	key   string
	name  string // as clients know it
	epoch string // see [Channel]

	// Under shard.mu.
	refs     int
	inbox    []Message
	replaced bool   // its end was replaced, and reset is still to be called
	ready    bool   // in shard.ready, or among those that wait for their turns
	life     uint32 // from 1, goes up whenever its end is replaced

	// Of messages that were taken from the inbox, those that wait for the next turn. They belong to
	// the shard's goroutine.
	rest []Message

	watch   sync.Mutex // held while asking the source to watch
	watched bool       // under watch; read by the last one to leave

	mu   sync.Mutex // held while delivering
	used formSet    // the forms that subs have, or had
	subs []*subscription
}

// subscription is one follower's place in one channel.
type subscription struct {
	ch *channel
	to follower

	any  bool // takes whatever comes; never caught up
	form form // how it gets messages

	// Of the channel, as far as the follower was told; 0: it is to be told. It belongs to
	// whoever catches the subscription up, and while it is live to who holds ch.mu.
	life uint32

	// Under ch.mu.
	index   int32     // in ch.subs, -1 when not in it
	live    bool      // in step with the notifications; else somebody is catching it up
	missed  bool      // pending overflowed
	last    uint64    // offset of the newest message sent, while live
	pending []Message // arrived while not live
}

// follower is where a subscription's messages go. Its methods are called by
// one goroutine at a time for each subscription and must not block, save for room.
type follower interface {
	// begin tells after which offset the messages start, where the channel is,
	// and whether everything that was asked for will follow.
	begin(s *subscription, at, top uint64, recovered bool)
	// send takes a batch. history says that it was read from the source, at
	// the follower's pace, and is not subject to the bound for slow consumers.
	send(s *subscription, b *batch, history bool)
	// room returns when the follower can take more history, or errFull at once if it cannot and is
	// not to wait.
	room(ctx context.Context, wait bool) error
	// ended tells that nothing follows in this channel.
	ended(s *subscription, offset uint64)
	// broken tells that the channel could not be read.
	broken(s *subscription, err error)
}

// pendingLimit bounds what waits for a subscription that is catching up, in messages. In bytes it
// is PageBytes: beyond that it costs less to read it again than to keep it while a client is slow.
const pendingLimit = 256

// take empties the inbox. Called under shard.mu.
func (ch *channel) take() (messages []Message, replaced bool) {
	messages, replaced = ch.inbox, ch.replaced
	ch.inbox, ch.replaced = nil, false
	return messages, replaced
}

// ensureWatched returns once the source notifies of this channel.
func (ch *channel) ensureWatched(ctx context.Context) error {
	ch.watch.Lock()
	defer ch.watch.Unlock()
	if ch.watched {
		return nil
	}
	err := ch.hub.source.Watch(ctx, ch.key)
	ch.watched = err == nil
	return err
}

// add puts a subscription into the channel, not live yet unless it says so.
func (ch *channel) add(s *subscription) {
	ch.mu.Lock()
	s.index = int32(len(ch.subs))
	ch.subs = append(ch.subs, s)
	if !s.any { // a waiter reads nothing of what comes
		ch.used.add(s.form)
	}
	ch.mu.Unlock()
}

// remove takes a subscription out. It may be called more than once.
func (ch *channel) remove(s *subscription) {
	ch.mu.Lock()
	in := s.index >= 0
	if in {
		last := len(ch.subs) - 1
		moved := ch.subs[last]
		ch.subs[s.index] = moved
		moved.index = s.index
		ch.subs[last] = nil
		ch.subs = ch.subs[:last]
		s.index, s.pending = -1, nil
	}
	ch.mu.Unlock()
	if in {
		ch.shard.leave(ch)
	}
}

// batch returns messages of the channel as they go to followers.
func (ch *channel) batch(messages []Message) batch {
	b := batch{channel: ch.name, epoch: ch.epoch, messages: messages}
	if newest := &messages[len(messages)-1]; newest.Piece != nil {
		b.top, b.cursor = newest.Offset, ch.hub.cursors.next()
	}
	return b
}

// deliver sends messages, as the source told of them, to all subscriptions. With a round
// some may leave only when that ends.
func (ch *channel) deliver(messages []Message, r *round) {
	all := ch.batch(contiguous(messages))
	if len(all.messages) < len(messages) {
		// The source repeated or dropped something in between: each stretch by itself.
		ch.deliver(all.messages, r)
		ch.deliver(messages[len(all.messages):], r)
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if r.admits(len(ch.subs)) {
		all.round = r
	}
	all.fanOut(ch.subs, ch.used)
	switch what := all.messages[0].About; {
	case r == nil:
		ch.hub.delivered(what)
	case r.first == nil:
		r.first = what
	}
	ch.hub.stats.delivered.Add(uint64(len(ch.subs) * len(all.messages)))
}

// perPart is how many sends are worth a goroutine of their own.
const perPart = 512

// fanOut is deliver, by several goroutines if there are many subscriptions, so that the last of
// them need not wait until one processor has come to it. It returns when all have. used are the
// forms that they have.
func (b *batch) fanOut(subs []*subscription, used formSet) {
	parts := min(len(subs)/perPart, runtime.GOMAXPROCS(0))
	if parts <= 1 {
		b.deliver(subs)
		return
	}
	b.encodeAll(used) // now, so that the parts only read
	var others sync.WaitGroup
	for ; parts > 1; parts-- {
		some := subs[:len(subs)/parts]
		subs = subs[len(some):]
		others.Go(func() { b.deliver(some) })
	}
	b.deliver(subs)
	others.Wait()
}

// deliver sends b, whose offsets have no gap, to subscriptions of its channel. Called under ch.mu.
func (b *batch) deliver(subs []*subscription) {
	first, last := b.messages[0].first(), &b.messages[len(b.messages)-1]
	for _, s := range subs {
		switch {
		case s.any:
			s.to.send(s, b, false)
		case !s.live:
			s.hold(b.messages)
		case first == s.last+1:
			s.last = last.Offset
			s.to.send(s, b, false)
		case last.Offset <= s.last: // a repetition
			continue
		default:
			rest, whole := b.after(s.last) // if it is a repetition in part
			if !whole {
				// A notification was missed, or a part of this was read already.
				s.live = false
				s.hold(b.messages)
				s.ch.hub.resync(s)
				continue
			}
			s.last = last.Offset
			s.to.send(s, &rest, false)
		}
		if s.live && last.Last {
			s.to.ended(s, last.Offset)
		}
	}
}

// reset tells all subscriptions that what they have seen does not hold any more. What was
// held back for one that is being caught up does not either: it has to read once more.
func (ch *channel) reset() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, s := range ch.subs {
		switch {
		case s.any:
			s.to.send(s, &batch{channel: ch.name}, false)
		case s.live:
			s.live, s.life = false, 0
			ch.hub.resync(s)
		default:
			s.pending, s.missed = nil, true
		}
	}
}

// hold keeps messages for the one who catches s up.
func (s *subscription) hold(messages []Message) {
	if len(s.pending)+len(messages) > pendingLimit || sizeOf(s.pending)+sizeOf(messages) > PageBytes {
		s.pending, s.missed = nil, true
	}
	if !s.missed {
		s.pending = append(s.pending, messages...)
	}
}

// sizeOf returns how many bytes the events of messages have.
func sizeOf(messages []Message) (bytes int) {
	for i := range messages {
		bytes += len(messages[i].Event)
	}
	return bytes
}

// contiguous returns the longest beginning of messages without a gap.
func contiguous(messages []Message) []Message {
	for i := 1; i < len(messages); i++ {
		if messages[i].first() != messages[i-1].Offset+1 {
			return messages[:i]
		}
	}
	return messages
}
