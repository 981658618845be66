package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/webhook/dispatch"
)

// perRequest is about what a new request takes in the file beside its content, in bytes.
const perRequest = 8 << 10

var errFull = errors.New("the file has reached its maximum size")

// Create implements lifecycle.Store.
func (s *Store) Create(ctx context.Context, sub lifecycle.Submission) (_ lifecycle.Created, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpCreate, time.Now(), &err)
	body := &written{id: sub.ID, part: lifecycle.Input, body: codec.EncodeBody(sub.Content)}
	var created lifecycle.Created
	err = s.writeBody(ctx, body, func(b *batch) error {
		found, err := b.found(&sub)
		if err != nil {
			return err
		}
		var match lifecycle.Match
		created, match, err = sub.Match(found, b.now)
		switch {
		case err != nil || match == lifecycle.KeyMatch:
			return err
		case match == lifecycle.IDMatch:
			if sub.Key != "" && !b.spare(perKey, reserveCreate) {
				return unavailable(errFull)
			}
			b.bindKey(&sub, &created.Request, found.Key)
			return nil
		}
		if !b.spare(body.size()+perRequest+s.endpoints.widest*perDelivery, reserveCreate) {
			return unavailable(errFull)
		}
		accepted := lifecycle.NewRequest(&sub, b.now)
		if err := sub.Quota.Admit(b.usage(sub.Owner), accepted.Request.Usage()); err != nil {
			return err
		}
		if err := sub.Room.Admit(sub.Route, b.s.queue.waiting); err != nil {
			return err
		}
		if !body.asking() {
			created.Request = b.create(&sub, found.Key, accepted, body)
		}
		return nil
	})
	if err != nil {
		return lifecycle.Created{}, err
	}
	return created, nil
}

// found returns what the submission's key and id name.
func (b *batch) found(sub *lifecycle.Submission) (found lifecycle.Found, err error) {
	if sub.Key != "" {
		known, err := b.loadKey(sub.Owner, sub.Key)
		if err != nil {
			return found, err
		}
		if known != nil {
			found.Key = known.use()
			if found.Named, err = b.named(found.Key.Request); err != nil {
				return found, err
			}
		}
	}
	found.Request, err = b.named(lifecycle.Named(sub.ID))
	return found, err
}

// named returns a request as it is handed out, nil if there is none.
func (b *batch) named(of lifecycle.Ref) (*lifecycle.Request, error) {
	r, err := b.findWhole(of)
	if errors.Is(err, lifecycle.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return new(b.s.present(r)), nil
}

// perKey is about what a key takes in the file, in bytes.
const perKey = 1 << 10

// bindKey lets the submission's key, if it has one, name a request, locked until somebody saves a
// reply. It does not name what it was used for before, which is not there any more.
func (b *batch) bindKey(sub *lifecycle.Submission, r *lifecycle.Request, before *lifecycle.KeyUse) {
	if sub.Key == "" {
		return
	}
	if before != nil {
		b.delete(requestKeysBucket, requestKey(before.Request.ID, sub.Owner, sub.Key))
	}
	b.saveKey(sub.Owner, sub.Key, &keyRecord{
		Request: r.ID, Life: r.Life, Fingerprint: sub.Fingerprint, LockedUntil: b.now.Add(sub.KeyLock),
	})
	b.put(requestKeysBucket, requestKey(r.ID, sub.Owner, sub.Key), nil)
}

// forgetKeys frees the keys that name a request.
func (b *batch) forgetKeys(r *record) {
	if r.Key != "" {
		b.delete(keysBucket, keyKey(r.Owner, r.Key))
	}
	prefix := append([]byte(r.ID), 0x00)
	var bound [][]byte // gathered first: a cursor does not outlive a change
	cursor := b.bucket(requestKeysBucket).Cursor()
	for key, _ := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		bound = append(bound, bytes.Clone(key))
	}
	for _, key := range bound {
		b.delete(keysBucket, key[len(prefix):])
		b.delete(requestKeysBucket, key)
	}
}

// create stores a new request. before is what its key was used for before, if it was.
func (b *batch) create(sub *lifecycle.Submission, before *lifecycle.KeyUse, accepted lifecycle.Effect, body *written) lifecycle.Request {
	r := &record{
		Request:   accepted.Request,
		Serial:    b.sequence(ownersBucket),
		Positions: eventPositions{Oldest: 1},
	}
	b.putBody(body)
	b.put(ownersBucket, ownerKey(r.Owner, r.Serial), []byte(codec.OwnerEntry(&r.Request)))
	b.note(r)
	b.use(r.Owner, lifecycle.Usage{}, r.Usage())
	b.schedule(r)
	b.enqueue(r)
	if r.Concurrency.Limited() && !r.NotBefore.After(b.now) {
		b.enterSlot(r)
	}
	b.begin(1)
	b.step(nil, &r.Request)
	b.bindKey(sub, &r.Request, before)
	return b.emit(r, accepted.Event)
}

// SaveReply implements lifecycle.Store.
func (s *Store) SaveReply(ctx context.Context, of lifecycle.Ref, owner, key string, reply lifecycle.Reply) (err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpReply, time.Now(), &err)
	return s.write(ctx, func(b *batch) error {
		known, err := b.loadKey(owner, key)
		if err != nil || known == nil || known.Request != of.ID || known.Life != of.Life {
			return err
		}
		known.Reply = &reply
		b.saveKey(owner, key, known)
		return nil
	})
}

// loadKey returns nil if the key was not used.
func (b *batch) loadKey(owner, key string) (*keyRecord, error) {
	value, err := b.read(keysBucket, keyKey(owner, key))
	if value == nil && err == nil {
		return nil, nil
	}
	known := new(keyRecord)
	if err == nil {
		err = json.Unmarshal(value, known)
	}
	if err != nil {
		return nil, b.s.damaged("", "the record of an idempotency key", err)
	}
	return known, nil
}

func (b *batch) saveKey(owner, key string, known *keyRecord) {
	b.saveKeyAt(keyKey(owner, key), known)
}

func (b *batch) saveKeyAt(digest []byte, known *keyRecord) {
	value, err := json.Marshal(known)
	if err != nil && b.err == nil {
		b.err = err
	}
	b.put(keysBucket, digest, value)
}

// Apply implements lifecycle.Store.
func (s *Store) Apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (_ lifecycle.Request, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpApply, time.Now(), &err)
	if c == nil {
		return lifecycle.Request{}, errors.New("no change to apply")
	}
	var changed lifecycle.Request
	var body *written
	run := func(b *batch) (err error) {
		changed, err = b.change(of, c, body)
		return err
	}
	if content, part := lifecycle.BodyOf(c); content != nil {
		body = &written{id: of.ID, part: part, body: codec.EncodeBody(*content)}
		err = s.writeBody(ctx, body, run)
	} else {
		err = s.write(ctx, run)
	}
	if err != nil {
		return lifecycle.Request{}, err
	}
	return changed, nil
}

// Begin implements lifecycle.Store. The content is read by the operation: it is there before the
// start, and a reader would have to wait for the batch after it.
func (s *Store) Begin(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (_ lifecycle.Request, _ lifecycle.Content, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpBegin, time.Now(), &err)
	var r lifecycle.Request
	var content lifecycle.Content
	var unread error
	if err := s.write(ctx, func(b *batch) (err error) {
		if r, err = b.change(of, c, nil); err == nil && r.Status == lifecycle.Processing {
			content, unread = b.s.body(b.s.journal.tx, of.ID, lifecycle.Input, true)
			s.journal.touched(len(content.Data))
		}
		return err
	}); err != nil {
		return lifecycle.Request{}, lifecycle.Content{}, err
	}
	return r, content, unread
}

// change applies c. body is what is stored with it, nil if that is nothing.
func (b *batch) change(of lifecycle.Ref, c lifecycle.Change, body *written) (lifecycle.Request, error) {
	was, err := b.findWhole(of)
	if err != nil {
		return lifecycle.Request{}, err
	}
	effect, err := lifecycle.Transition(was.Request, c, b.now)
	if err != nil {
		return lifecycle.Request{}, err
	}
	if !effect.Changed {
		return b.s.present(was), nil
	}
	if size := body.size(); (size > 0 || !effect.Request.Status.Terminal()) && !b.spare(size, reserveChange) {
		return lifecycle.Request{}, unavailable(errFull)
	}
	if body.asking() {
		return b.s.present(was), nil
	}
	slot := lifecycle.SlotStepOf(&was.Request, &effect.Request, b.now)
	if slot == lifecycle.SlotNeeded && !b.enterSlot(was) {
		return lifecycle.Request{}, lifecycle.NoSlot(&was.Request)
	}
	r := new(*was)
	r.Request = effect.Request
	b.reindex(was, r)
	b.use(r.Owner, was.Usage(), r.Usage())
	b.pace(&was.Request, &r.Request)
	b.step(&was.Request, &r.Request)
	b.moveSlot(slot, r)
	switch {
	case body == nil:
	case body.part == lifecycle.Answers: // which are never large, so none are written ahead
		b.deletePieces(bodyKey(nil, r.ID, body.part))
		b.putBody(body)
	default:
		b.putBody(body)
		content, _ := lifecycle.BodyOf(c)
		b.moveOut(r, content.Data)
	}
	if effect.Asked {
		b.canceled = append(b.canceled, r.Ref().String())
	}
	if effect.Event == "" {
		b.save(r)
		return b.s.present(r), nil
	}
	return b.emit(r, effect.Event), nil
}

// reindex moves a request in the indexes.
func (b *batch) reindex(was, is *record) {
	if was.Status != is.Status {
		b.countStatus(&was.Request, -1)
		b.countStatus(&is.Request, 1)
		switch was.Status {
		case lifecycle.Pending:
			b.dequeue(is)
		case lifecycle.Processing, lifecycle.Waiting:
			b.delete(processingBucket, processingKey(is))
		default: // it is redriven
			b.begin(1)
		}
		if isDead(was) {
			b.exhume(was)
		}
		switch is.Status {
		case lifecycle.Pending:
			b.enqueue(is)
		case lifecycle.Processing, lifecycle.Waiting:
			b.put(processingBucket, processingKey(is), processingValue(is))
		default:
			b.begin(-1)
		}
		if isDead(is) {
			b.bury(is)
		}
	}
	// An extension leaves the entry where it is, too early: every progress
	// report may carry one.
	if due := nanos(is.ExpiresAt); due < is.Due || (is.Status.Terminal() && due != is.Due) {
		b.key = expiryKey(b.key[:0], is.Due, is.ID)
		b.delete(expiryBucket, b.key)
		b.schedule(is)
	}
}

// schedule puts a request into the index of what is due when.
func (b *batch) schedule(r *record) {
	r.Due = nanos(r.ExpiresAt)
	b.key = expiryKey(b.key[:0], r.Due, r.ID)
	b.put(expiryBucket, b.key, nil)
}

// enqueue puts a pending request behind the others of its priority.
func (b *batch) enqueue(r *record) {
	r.Ticket = b.sequence(pendingBucket)
	b.put(pendingBucket, pendingKey(r), []byte(r.ID))
	queue, route, priority, ticket := &b.s.queue, r.Route, r.Priority, r.Ticket
	queue.add(route, priority, ticket)
	b.undo = append(b.undo, func() { queue.remove(route, priority, ticket) })
}

func (b *batch) dequeue(r *record) {
	b.delete(pendingBucket, pendingKey(r))
	queue, route, priority, ticket := &b.s.queue, r.Route, r.Priority, r.Ticket
	queue.remove(route, priority, ticket)
	b.undo = append(b.undo, func() { queue.add(route, priority, ticket) })
	r.Ticket = 0
}

// emit stores r together with the event that tells of it, and returns r as it is
// handed out.
func (b *batch) emit(r *record, t lifecycle.EventType) lifecycle.Request {
	out := b.s.present(r)
	channels := r.Channels()
	refs := byte(len(channels))
	takers := b.takers(&r.Request, t)
	if len(takers) > 0 && !b.posted(dispatch.MessageID(r.Ref(), r.Sequence)) {
		refs++ // deliverEvent's
	}
	b.encoded = appendEvent(b.encoded[:0], &out, r.outOfLine, t, b.now, refs)
	event := lifecycle.NewEvent(&out, t)

	at := b.sequence(eventsBucket)
	b.key = position(b.key[:0], at)
	b.put(eventsBucket, b.key, b.encoded)
	r.Positions.add(at)
	if keep := uint64(b.s.options.History); r.Sequence-r.Positions.Oldest+1 > keep+chunkOf(keep) {
		oldest := r.Sequence - keep + 1
		for sequence, at := range r.Positions.all() {
			if sequence < oldest {
				b.unref(at)
			}
		}
		r.Positions = r.Positions.from(oldest)
	}
	b.save(r)
	b.notifications = append(b.notifications, n{channels[0].Key(), message(r.Sequence, event, out.Status.Terminal())})
	for _, feed := range channels[1:] {
		b.append(feed, at, event)
	}
	if len(takers) > 0 {
		b.deliverEvent(takers, &r.Request, t, at)
	}
	if r.Status.Terminal() {
		b.endOutput(r)
	}
	return out
}

// Delete implements lifecycle.Store.
func (s *Store) Delete(ctx context.Context, of lifecycle.Ref) (err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpDelete, time.Now(), &err)
	return s.write(ctx, func(b *batch) error {
		r, err := b.findRequest(of)
		if err != nil {
			return err
		}
		if !r.Status.Terminal() {
			return lifecycle.ErrNotEnded
		}
		b.forgetDeliveries(&r.Request)
		b.forget(r)
		return nil
	})
}
