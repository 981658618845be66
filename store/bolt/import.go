package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Import makes the store in the file at path of what another one held. There must be none yet. It
// is made beside it, and gets its name when all is in it, so that nothing is left of an import that
// fails.
func Import(path string, lines iter.Seq2[transfer.Line, error]) error {
	for _, name := range []string{path, walPath(path)} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("import into %s: there is something already. Nothing was changed; name another folder, or move it away", name), err)
		}
	}
	made := path + ".import"
	clean := func() error {
		var failed error
		for _, name := range []string{made, walPath(made)} {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
		return failed
	}
	if err := clean(); err != nil { // of an import that was killed
		return err
	}
	s, err := Open(made, Options{})
	if err != nil {
		return err
	}
	i := importer{s: s, ctx: context.Background()}
	err = i.all(lines)
	if err = errors.Join(err, s.Close()); err == nil {
		if err = rename(made, path); err == nil {
			return wal.SyncDir(filepath.Dir(path))
		}
	}
	return errors.Join(err, clean())
}

// importer takes lines in. What belongs to one request, or to one endpoint, is stored when the next
// one begins.
type importer struct {
	s   *Store
	ctx context.Context

	pending []func(*batch) error
	size    int

	request  *record
	feed     lifecycle.Channel
	top      uint64
	last     uint64 // offset of the entry before
	endpoint *endpoint
	stream   *streamRecord
	end      uint64 // of the bytes that it has so far
}

// Of how many lines, or bytes, one change of the store is made.
const (
	importLines = 256
	importBytes = 4 << 20
)

func (i *importer) all(lines iter.Seq2[transfer.Line, error]) error {
	if err := transfer.Each(lines, i.line); err != nil {
		return err
	}
	i.closeFeed()
	return i.flush()
}

// do has the store make a change, together with others.
func (i *importer) do(size int, change func(*batch) error) error {
	i.pending, i.size = append(i.pending, change), i.size+size
	if len(i.pending) < importLines && i.size < importBytes {
		return nil
	}
	return i.flush()
}

func (i *importer) flush() error {
	pending := i.pending
	i.pending, i.size = nil, 0
	if len(pending) == 0 {
		return nil
	}
	return i.s.write(i.ctx, func(b *batch) error {
		for _, change := range pending {
			if err := change(b); err != nil && b.err == nil {
				b.err = err
			}
		}
		return nil
	})
}

var errLine = errors.New("something that belongs to it is missing, or comes too late")

func (i *importer) line(l *transfer.Line) error {
	if l.Kind != transfer.Entry && l.Kind != transfer.Feed {
		i.closeFeed()
	}
	switch l.Kind {
	case transfer.Request:
		return i.addRequest(l)
	case transfer.Content:
		part, ok := transfer.PartOf(l.Part)
		if !ok || i.request == nil {
			return errLine
		}
		w := &written{id: i.request.ID, part: part, body: codec.EncodeBody(lifecycle.Content{Type: l.Type, Data: l.Data})}
		r, data := i.request, l.Data
		return i.do(len(w.body), func(b *batch) error {
			b.putBody(w)
			if part == lifecycle.Output {
				b.moveOut(r, data)
				b.save(r)
			}
			return nil
		})
	case transfer.Event:
		return i.addEvent(l)
	case transfer.Key:
		return i.addKey(l)
	case transfer.Feed:
		i.closeFeed()
		c, err := lifecycle.ParseKey(l.Channel)
		if err != nil || !c.Feed() {
			return errors.Join(errLine, err)
		}
		i.feed, i.top, i.last = c, l.Offset, l.Begun
		if l.Begun == 0 {
			return nil
		}
		begun := l.Begun
		return i.do(0, func(b *batch) error { b.put(feedsBucket, position(feedPrefix(c), begun), beginValue); return nil })
	case transfer.Entry:
		return i.addEntry(l)
	case transfer.Endpoint:
		return i.addEndpoint(l)
	case transfer.Delivery:
		return i.addDelivery(l)
	case transfer.Stream:
		return i.addStream(l)
	case transfer.Bytes:
		return i.addBytes(l)
	case transfer.Floor:
		floor := l.Offset
		return i.do(0, func(b *batch) error { b.put(keptBucket, floorKey, position(nil, floor)); return nil })
	case transfer.Kept:
		name, value := []byte(l.ID), l.Data
		return i.do(len(value), func(b *batch) error { b.put(keptBucket, name, value); return nil })
	default:
		return errors.New("this program knows no such kind: use a newer one")
	}
}

func (i *importer) addRequest(l *transfer.Line) error {
	if l.Request == nil || l.Request.ID == "" || l.Serial == 0 || l.Request.Status == lifecycle.Pending && l.Ticket == 0 {
		return errLine
	}
	r := &record{Request: lifecycle.Request(*l.Request), Serial: l.Serial, Ticket: l.Ticket, Positions: eventPositions{Oldest: l.Request.Sequence + 1}}
	i.request = r
	return i.do(512, func(b *batch) error {
		b.raise(ownersBucket, r.Serial)
		at := ownerKey(r.Owner, r.Serial)
		if b.bucket(ownersBucket).Get(at) != nil {
			return fmt.Errorf("request %s has the serial %d of another one", r.ID, r.Serial)
		}
		b.put(ownersBucket, at, []byte(codec.OwnerEntry(&r.Request)))
		b.note(r)
		b.schedule(r)
		b.use(r.Owner, lifecycle.Usage{}, r.Usage())
		switch r.Status {
		case lifecycle.Pending:
			b.raise(pendingBucket, r.Ticket)
			if b.bucket(pendingBucket).Get(pendingKey(r)) != nil {
				return fmt.Errorf("request %s has the ticket %d of another one", r.ID, r.Ticket)
			}
			b.put(pendingBucket, pendingKey(r), []byte(r.ID))
		case lifecycle.Processing, lifecycle.Waiting:
			b.put(processingBucket, processingKey(r), processingValue(r))
		}
		if isDead(r) {
			b.bury(r)
		}
		b.save(r)
		return nil
	})
}

func (i *importer) addEvent(l *transfer.Line) error {
	r := i.request
	if r == nil || l.Offset == 0 || l.Offset > r.Sequence {
		return errLine
	}
	event, sequence, time := []byte(l.Event), l.Offset, transfer.TimeOf(l.Event)
	return i.do(len(event), func(b *batch) error {
		at := b.sequence(eventsBucket)
		b.put(eventsBucket, position(nil, at), append(appendEventHeader(nil, time, 1), event...))
		if len(r.Positions.Steps) == 0 {
			r.Positions.Oldest = sequence
		}
		r.Positions.add(at)
		b.save(r)
		return nil
	})
}

func (i *importer) addKey(l *transfer.Line) error {
	if len(l.Digest) != 32 || l.ID == "" {
		return errLine
	}
	k := &keyRecord{Request: l.ID, Life: l.Life, Fingerprint: string(l.Fingerprint), LockedUntil: l.Locked, Reply: l.Reply}
	digest := l.Digest
	return i.do(512, func(b *batch) error {
		b.saveKeyAt(digest, k)
		b.put(requestKeysBucket, append(append([]byte(k.Request), 0x00), digest...), nil)
		return nil
	})
}

// share returns where the event of a feed is that is in the channel of its request, too; 0 if it is
// not.
func (b *batch) share(event []byte) uint64 {
	e, ok := codec.ParseEvent(event)
	if !ok {
		return 0
	}
	r, err := b.findRequest(e.Request)
	if err != nil || r.Life != e.Request.Life {
		return 0
	}
	for sequence, at := range r.Positions.all() {
		if sequence != e.Sequence {
			continue
		}
		if stored, err := b.s.event(b.s.journal.tx, position(nil, at)); err == nil && bytes.Equal(stored.Text, event) {
			return at
		}
	}
	return 0
}

// refer stores an event that one more channel refers to, and returns where.
func (b *batch) refer(event []byte, header []byte) uint64 {
	if at := b.share(event); at > 0 {
		key := position(nil, at)
		count := byte(1)
		if refs := b.bucket(refsBucket).Get(key); len(refs) == 1 {
			count = refs[0]
		}
		b.put(refsBucket, key, []byte{count + 1})
		return at
	}
	at := b.sequence(eventsBucket)
	b.put(eventsBucket, position(nil, at), append(header, event...))
	return at
}

func (i *importer) addEntry(l *transfer.Line) error {
	if i.feed == (lifecycle.Channel{}) || l.Offset <= i.last || l.Offset > i.top {
		return errLine
	}
	c, offset, time, event := i.feed, l.Offset, transfer.TimeOf(l.Event), []byte(l.Event)
	i.last = offset
	return i.do(len(event), func(b *batch) error {
		at := b.refer(event, appendEventHeader(nil, time, 1))
		key := position(feedPrefix(c), offset)
		b.put(feedsBucket, key, appendPlace(nil, key, at))
		b.put(agingBucket, agingKey(b.s.spanEnd(nanos(time)), c), nil)
		return nil
	})
}

// closeFeed keeps the top of a feed whose newest event is gone.
func (i *importer) closeFeed() {
	c, top, last := i.feed, i.top, i.last
	i.feed, i.top, i.last = lifecycle.Channel{}, 0, 0
	if c == (lifecycle.Channel{}) || top == last || top == 0 {
		return
	}
	i.pending = append(i.pending, func(b *batch) error {
		b.put(feedsBucket, position(feedPrefix(c), top), nil)
		return nil
	})
}

func (i *importer) addEndpoint(l *transfer.Line) error {
	if l.Endpoint == nil || l.Endpoint.ID == "" {
		return errLine
	}
	e := &endpoint{Endpoint: cloneEndpoint(*l.Endpoint), leases: make(map[uint64]lease), at: never}
	if l.Health != nil {
		e.Health = *l.Health
		e.Health.Waiting, e.Health.Sending = 0, 0
	}
	if !l.Named.IsZero() {
		e.Named = nanos(l.Named)
	}
	i.endpoint = e
	return i.do(1024, func(b *batch) error {
		e.serial = b.sequence(endpointsBucket)
		b.saveEndpoint(e)
		b.saveHealth(e)
		b.s.endpoints.add(e)
		return nil
	})
}

func (i *importer) addDelivery(l *transfer.Line) error {
	e, m := i.endpoint, l.Delivery
	if e == nil || m == nil || m.ID == "" {
		return errLine
	}
	d := &delivery{
		ID: m.ID, Lane: m.Lane, Type: m.Type, State: m.State, Attempts: m.Attempts, Tries: m.Tries, Created: nanos(m.Created),
	}
	if d.State == dispatch.Waiting {
		d.Due = nanos(m.Due)
	} else {
		d.Settled = nanos(m.Settled)
		d.Due = d.Settled
	}
	return i.do(len(m.Body)+512, func(b *batch) error {
		if !b.posted(d.ID) {
			b.post(d.ID, b.refer(m.Body, appendEventHeader(nil, m.Created, 1)))
		}
		b.count(d.ID, 1)
		d.serial = b.sequence(deliveriesBucket)
		b.put(messageIndexBucket, messageKey(e.serial, d.ID), position(nil, d.serial))
		b.saveDelivery(e, d)
		if d.State == dispatch.Waiting {
			b.await(e, d)
		} else {
			b.put(settledBucket, settledKey(d.Settled, e.serial, d.serial), nil)
		}
		if len(m.Log) > 0 {
			b.saveLog(e, d, m.Log)
		}
		return nil
	})
}
