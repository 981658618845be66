package redis

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"sync"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
)

// What is published of a stream begins with a letter that says what it tells of.
const (
	toldChunk  = 'c' // that more was appended: see head, and the bytes
	toldEnd    = 'e' // that a request has ended: what is stored of its output, which may be nothing
	toldReopen = 'o' // that one was redriven: likewise
	toldGone   = 'g' // that it was deleted: what was stored of it
)

// Flags of what is published of an append.
const (
	toldClosed  = 1 << iota
	toldWithout // the bytes are so many that they are left out
)

// head is what is published in front of bytes that were stored from a position on, with which the
// stream has become k.
func (k *streamRecord) head(from uint64, n int) string {
	flags := byte(0)
	if k.Closed {
		flags |= toldClosed
	}
	if n > mostPublished {
		flags |= toldWithout
	}
	attempt := 0
	if last := len(k.Segments); last > 0 {
		attempt = k.Segments[last-1].Attempt
	}
	head := make([]byte, 0, 64)
	head = append(head, toldChunk, flags)
	head = binary.BigEndian.AppendUint32(head, k.sum)
	head = binary.AppendUvarint(head, from)
	head = binary.AppendUvarint(head, uint64(n))
	head = binary.AppendUvarint(head, uint64(attempt))
	for _, text := range []string{k.Tag, k.Type} {
		head = append(binary.AppendUvarint(head, uint64(len(text))), text...)
	}
	return string(head)
}

// mostPublished is how many bytes are published, more are read.
const mostPublished = 256 << 10

// told is what was published of a stream.
type told struct {
	is      stream.Stream // as far as it is known: tail, type, tag, closed, its last attempt
	sum     uint32        // see streamRecord
	bytes   []byte        // those before its tail
	without bool          // they were left out
}

// readHead reads what head has made, and the bytes behind it.
func readHead(payload string) (t told, err error) {
	raw := []byte(payload)
	if len(raw) < 6 {
		return t, errStream
	}
	flags := raw[1]
	t.sum, raw = binary.BigEndian.Uint32(raw[2:]), raw[6:]
	var numbers [3]uint64 // from, how many, attempt
	for i := range numbers {
		n, size := binary.Uvarint(raw)
		if size <= 0 {
			return t, errStream
		}
		numbers[i], raw = n, raw[size:]
	}
	for _, text := range []*string{&t.is.Tag, &t.is.Type} {
		n, size := binary.Uvarint(raw)
		if size <= 0 || n > uint64(len(raw)-size) {
			return t, errStream
		}
		*text, raw = string(raw[size:size+int(n)]), raw[size+int(n):]
	}
	t.is.Tail, t.is.Closed, t.without = numbers[0]+numbers[1], flags&toldClosed != 0, flags&toldWithout != 0
	if attempt := int(numbers[2]); attempt > 0 {
		t.is.Segments = []stream.Segment{{Attempt: attempt}}
	}
	if t.bytes = raw; !t.without && uint64(len(raw)) != numbers[1] {
		return t, errStream
	}
	return t, nil
}

// watchedStream is a stream that is watched, the handler of its subscription.
type watchedStream struct {
	store *Store
	name  stream.Name

	// mu is held while the listener runs, so that it is notified in order; before that of the
	// subscriber.
	mu   sync.Mutex
	seen seen // its mark is a position, and what streamMark makes of what stands before it
	gone bool // that was told
}

// streamMark is by what the bytes before a position are known again: the tag of their stream, and
// the sum of those behind the last whole chunk before it. The bytes themselves count: what a
// replica that takes over lacks, and is appended once more, is no loss.
func streamMark(tag string, sum uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte(tag), sum))
}

func (w *watchedStream) channel() string { return w.name.Key() }

func (w *watchedStream) known() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Missed implements link.Handler.
func (w *watchedStream) Missed() { w.store.stale.add(w.channel(), w.known()) }

// Message implements link.Handler.
func (w *watchedStream) Message(payload string) {
	if err := w.published(payload); err != nil {
		w.store.log.LogAttrs(context.Background(), slog.LevelWarn, "what is published of a stream is not understood", slog.String("channel", w.channel()), slog.Any("error", err))
	}
}

func (w *watchedStream) published(payload string) error {
	if payload == "" {
		return errStream
	}
	if payload[0] == toldChunk {
		t, err := readHead(payload)
		if err != nil {
			return err
		}
		if t.without {
			w.Missed()
			return nil
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notify(mark{t.is.Tail, streamMark(t.is.Tag, t.sum)}, lifecycle.StreamAppended(&t.is, t.bytes)...)
		return nil
	}
	k := &streamRecord{Stream: stream.NewOutput(w.name)}
	if value := payload[1:]; value != "" {
		var err error
		if k, err = decodeStreamRecord(value, 0); err != nil {
			return err
		}
	}
	at := mark{k.Tail, streamMark(k.Tag, k.sum)}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch payload[0] {
	case toldEnd:
		k.Closed = true
		w.notify(at, lifecycle.StreamEnd(&k.Stream))
	case toldReopen: // what stood for its end does not any more
		w.notify(at, lifecycle.Message{Offset: k.Tail})
	case toldGone:
		w.gone = true
		w.notify(at, lifecycle.StreamGone(&k.Stream))
	default:
		return errStream
	}
	return nil
}

// notify notifies the listener, under mu.
func (w *watchedStream) notify(at mark, messages ...lifecycle.Message) {
	w.seen.mark = at
	f := w.store.listener.Load()
	for _, m := range messages {
		w.seen.received = m.Offset
		if f != nil {
			(*f)(w.channel(), m)
		}
	}
}

// places are the partitions of watched streams that are not in that of their name.
type places struct {
	mu sync.Mutex
	of map[string]int
}

func (p *places) set(key string, partition, home int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if partition == home {
		delete(p.of, key)
		return
	}
	if p.of == nil {
		p.of = make(map[string]int)
	}
	p.of[key] = partition
}

func (p *places) get(key string, home int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if partition, ok := p.of[key]; ok {
		return partition
	}
	return home
}

// streamHome is the partition of a stream's name.
func (s *Store) streamHome(n stream.Name) int {
	if n.Output() {
		return s.partition(lifecycle.ParseRef(n.Path).ID)
	}
	return s.partition(n.Key())
}

// streamSubscription returns what subscribes to a stream that is watched, and what its channel is
// called in Redis.
func (s *Store) streamSubscription(n stream.Name) (*link.Subscriber, string) {
	key := n.Key()
	partition := s.places.get(key, s.streamHome(n))
	return s.subscriber(partition), s.tags[partition] + "b:" + key
}

// watchStream is Watch of a stream.
func (s *Store) watchStream(ctx context.Context, n stream.Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	if len(s.tags) > 1 && !n.Output() {
		f, err := s.find(bound, n)
		if err != nil {
			return failed(ctx, err)
		}
		partition, home := s.streamHome(n), s.streamHome(n)
		if f.k != nil {
			partition = f.k.partition
		}
		s.places.set(n.Key(), partition, home)
	}
	subscriber, name := s.streamSubscription(n)
	return failed(ctx, subscriber.SubscribeNow(bound, name, &watchedStream{store: s, name: n}))
}

func (s *Store) unwatchStream(n stream.Name) {
	subscriber, name := s.streamSubscription(n)
	subscriber.Unsubscribe(name)
	s.places.set(n.Key(), 0, 0)
}

// watchedStreamAs returns a stream that is watched, nil if nobody watches it.
func (s *Store) watchedStreamAs(n stream.Name) *watchedStream {
	subscriber, name := s.streamSubscription(n)
	w, _ := subscriber.Handler(name).(*watchedStream)
	return w
}

// noteStream remembers what was read of a stream of which nothing was heard yet: followers have
// seen that although it was not published to them.
func (s *Store) noteStream(n stream.Name, k *streamRecord) {
	w := s.watchedStreamAs(n)
	if w == nil || k == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.mark.offset == 0 {
		w.seen.mark = mark{k.Tail, streamMark(k.Tag, k.sum)}
	}
}

// compareStream notifies the listener of the newest bytes of a stream of which less was received,
// of its end, and if it has lost its end or is gone.
func (s *Store) compareStream(ctx context.Context, n stream.Name, before seen) error {
	w := s.watchedStreamAs(n)
	if w == nil {
		return nil
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	is, k, _, err := s.state(bound, n)
	gone := errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrGone)
	if err != nil && !gone {
		return err
	}
	if gone || k != nil && before.mark.offset > 0 && before.mark.token[:len(before.mark.token)-4] != k.Tag {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.gone {
			w.gone = true
			w.notify(mark{}, lifecycle.StreamGone(&stream.Stream{Tail: before.received}))
		}
		return nil
	}
	top := is.Tail
	if is.Closed {
		top++
	}
	now := mark{is.Tail, streamMark(is.Tag, 0)}
	if k != nil {
		now.token = streamMark(is.Tag, k.sum)
	}
	lost, err := s.lostEnd(bound, n, k, before, top)
	if err != nil {
		return err
	}
	from := max(before.received, before.mark.offset)
	var newest []byte
	if !lost && is.Tail > from {
		if newest, err = s.newestBytes(bound, n, k, from); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case lost:
		w.notify(now, lifecycle.Message{Offset: is.Tail})
	case top <= w.seen.received:
	case w.seen.received != before.received: // more came meanwhile, but not all of it
		s.stale.add(w.channel(), w.seen)
	default:
		w.notify(now, lifecycle.StreamAppended(&is, newest)...)
	}
	return nil
}

// newestBytes returns the bytes of a stream behind a position, or the last ones of many: of JSON
// whole messages.
func (s *Store) newestBytes(ctx context.Context, n stream.Name, k *streamRecord, from uint64) ([]byte, error) {
	if k.Tail-from > lifecycle.PageBytes {
		from = k.Tail - stream.ChunkBytes
	} else {
		return s.bytesFrom(ctx, n, k, from)
	}
	for {
		newest, err := s.bytesFrom(ctx, n, k, from)
		if err != nil || !k.JSON() || from == 0 {
			return newest, err
		}
		if at := bytes.IndexByte(newest, '\n') + 1; at > 0 && at < len(newest) {
			return newest[at:], nil
		}
		from -= min(from, uint64(len(newest)))
	}
}

// bytesFrom returns all bytes of a stream from a position on.
func (s *Store) bytesFrom(ctx context.Context, n stream.Name, k *streamRecord, from uint64) ([]byte, error) {
	p := make([]byte, k.Tail-from)
	count, err := s.readOwn(ctx, n.Key(), k, p, from)
	return p[:count], err
}

// lostEnd reports whether a stream has not any more what was seen of it.
func (s *Store) lostEnd(ctx context.Context, n stream.Name, k *streamRecord, was seen, top uint64) (bool, error) {
	at := was.mark.offset
	if top < was.received || at > 0 && k == nil {
		return true, nil
	}
	if at == 0 {
		return false, nil
	}
	sum := binary.BigEndian.Uint32([]byte(was.mark.token[len(was.mark.token)-4:]))
	if at == k.Tail || at <= k.own() {
		return at == k.Tail && sum != k.sum, nil
	}
	begin := (at - k.own()) / codec.BodyChunk * codec.BodyChunk
	seen := make([]byte, at-k.own()-begin)
	if _, err := s.readOwn(ctx, n.Key(), k, seen, k.own()+begin); err != nil {
		return false, err
	}
	return crc32.Checksum(seen, castagnoli) != sum, nil
}
