package bolt

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// batch is the work of one frame. It belongs to the writer's goroutine, which uses two of them in
// turn; while one is in flight, nobody changes it.
//
// An error of the database stays in err and fails the whole batch, so operations need
// not look at it. What is read holds until the next change only.
type batch struct {
	s       *Store
	now     time.Time // the clock as the running operation reads it
	ops     []*op     // to be answered
	outcome *outcome  // what becomes of it, for those who read it
	before  *batch    // the one that is in flight meanwhile, or nil
	frame   []byte    // what goes to the log

	writes  int
	cramped bool // something was refused because the file is full
	err     error

	// What is made known, or taken back, when the outcome is clear.
	changed       map[string]*record // nil: forgotten
	begun         int                // requests created less those ended
	undo          []func()           // of what is in memory, to be run backwards
	notifications []n
	canceled      []string
	freed         []string           // requests that waited for a slot and have one now
	steps         []lifecycle.Step   // for the meter
	touched       map[*endpoint]bool // what undo restores
	due           bool               // something of an endpoint may be
	streams       map[uint64]uint64  // by serial: those that it changes, and their end then

	// Kept from batch to batch.
	encoded []byte      // scratch, a record or an event
	key     []byte      // scratch
	place   []byte      // scratch, a position
	piece   []byte      // scratch, the first piece of a body
	taking  []*endpoint // scratch
}

// notification is a message to be passed on when the batch is durable.
type n struct {
	channel string
	message lifecycle.Message
}

// message returns an event as it stands in a channel.
func message(offset uint64, e *lifecycle.Event, last bool) lifecycle.Message {
	return lifecycle.Message{Offset: offset, Event: e, Last: last}
}

func newBatch(s *Store) *batch {
	return &batch{
		s:       s,
		changed: make(map[string]*record),
		touched: make(map[*endpoint]bool),
		streams: make(map[uint64]uint64),
	}
}

// apply runs operations, while nobody reads. Each of them has its own error of the domain
// afterwards; an error of the batch is that of all.
func (b *batch) apply(ops []*op) {
	defer recoverDamage(&b.err)
	ran := len(b.ops)
	for _, o := range ops {
		if o.took.CompareAndSwap(queued, taken) {
			b.ops = append(b.ops, o)
		}
	}
	if len(b.ops) == 0 {
		return
	}
	if ran == 0 {
		b.outcome, b.err = b.s.journal.prepare()
	}
	for _, o := range b.ops[ran:] {
		if b.err != nil {
			return
		}
		writes := b.writes
		o.err = b.run(o)
		if b.err == nil && o.err != nil && b.writes != writes {
			b.err = fmt.Errorf("operation failed half-done: %w", o.err)
		}
	}
}

func (b *batch) run(o *op) error {
	b.now = b.s.options.Now().Round(0).UTC() // as it will be read back
	return o.run(b)
}

// stuck reports whether b cannot go to the log: it goes to the file, or has failed.
func (b *batch) stuck() bool { return b.err != nil || b.writes > 0 && b.s.journal.whole }

// revert takes back what was changed in memory.
func (b *batch) revert() {
	for _, v := range slices.Backward(b.undo) {
		v()
	}
	b.s.unfinished -= b.begun
	clear(b.s.feeds) // read again when next needed
}

// answer tells the outcome of b: when it is durable, what it changed becomes visible, then the
// notifications are sent, then the callers return. With an error it was taken back, and nobody has
// heard of it.
func (b *batch) answer(err error) {
	if len(b.ops) == 0 {
		return
	}
	if err == nil {
		b.s.live.keep(b.changed)
	}
	if failed := err != nil; failed != b.s.failing.Load() && (failed || b.writes > 0) {
		b.s.failing.Store(failed)
	}
	b.s.fresh.settle(b)
	b.outcome.lost = err != nil
	close(b.outcome.known)
	if err == nil {
		b.notify()
	}
	for _, o := range b.ops {
		if err != nil {
			o.err = unavailable(err)
		}
		close(o.done)
	}
}

// notify sends the notifications, in the order of the changes.
func (b *batch) notify() {
	if listener := b.s.listener.Load(); listener != nil {
		for _, n := range b.notifications {
			(*listener)(n.channel, n.message)
		}
	}
	for _, id := range b.canceled {
		b.s.cancels.Tell(id)
	}
	for _, id := range b.freed {
		b.s.freed.Tell(id)
	}
	if b.due {
		b.s.dues.Tell("")
	}
	for _, s := range b.steps {
		b.s.options.Meter.Stepped(s)
	}
}

// step notes for the meter that a request came from was, nil for none, to is.
func (b *batch) step(was, is *lifecycle.Request) {
	if b.s.options.Meter == nil {
		return
	}
	if s, ok := lifecycle.StepOf(was, is); ok {
		b.steps = append(b.steps, s)
	}
}

// reset makes b ready to be used again, and lets go of what is large.
func (b *batch) reset() {
	const most = 1 << 20
	clear(b.ops)
	clear(b.changed)
	clear(b.undo)
	clear(b.notifications)
	clear(b.touched)
	clear(b.streams)
	b.due = false
	b.err, b.writes, b.begun, b.cramped, b.outcome, b.frame = nil, 0, 0, false, nil, nil
	b.ops, b.undo, b.notifications, b.canceled = b.ops[:0], b.undo[:0], b.notifications[:0], b.canceled[:0]
	b.freed, b.steps = b.freed[:0], b.steps[:0]
	if cap(b.encoded) > most {
		b.encoded = nil
	}
	if len(b.s.feeds) > maxFeeds {
		clear(b.s.feeds)
	}
}

// bucket is for reading; put, delete and sequence change it.
func (b *batch) bucket(name []byte) *bolt.Bucket { return b.s.journal.tables[&name[0]].Bucket }

// put stores a value. The slices are the caller's again afterwards.
func (b *batch) put(bucket, key, value []byte) {
	b.writes++
	if err := b.s.journal.put(bucket, key, value); err != nil && b.err == nil {
		b.err = fmt.Errorf("put into %s: %w", bucket, err)
	}
}

func (b *batch) delete(bucket, key []byte) {
	b.writes++
	if err := b.s.journal.delete(bucket, key); err != nil && b.err == nil {
		b.err = fmt.Errorf("delete from %s: %w", bucket, err)
	}
}

// sequence returns the next number of a bucket, from 1.
func (b *batch) sequence(bucket []byte) uint64 {
	b.writes++
	n, err := b.s.journal.sequence(bucket)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("number in %s: %w", bucket, err)
	}
	return n
}

// raise lets the numbers of a bucket go on behind n.
func (b *batch) raise(bucket []byte, n uint64) {
	if b.bucket(bucket).Sequence() >= n {
		return
	}
	b.writes++
	if err := b.s.journal.raise(bucket, n); err != nil && b.err == nil {
		b.err = fmt.Errorf("number in %s: %w", bucket, err)
	}
}

// findRequest returns the request that is named, see load.
func (b *batch) findRequest(of lifecycle.Ref) (*record, error) {
	r, err := b.load(of.ID)
	if err == nil && !of.Of(&r.Request) {
		return nil, lifecycle.ErrNotFound
	}
	return r, err
}

// findWhole is findRequest for a request that is handed out.
func (b *batch) findWhole(of lifecycle.Ref) (*record, error) {
	r, err := b.findRequest(of)
	if err != nil {
		return nil, err
	}
	return b.s.whole(b.s.journal.tx, r)
}

// load returns a request as the operations before left it, in this batch, in the one in flight, or
// earlier.
func (b *batch) load(id string) (*record, error) {
	for at := b; at != nil; at = at.before {
		if r, ok := at.changed[id]; ok {
			if r == nil {
				return nil, lifecycle.ErrNotFound
			}
			return r, nil
		}
	}
	if r := b.s.live.get(id); r != nil {
		return r, nil
	}
	return b.s.record(b.s.journal.tx, id)
}

// save stores a new version of a request.
func (b *batch) save(r *record) {
	b.encoded = r.append(b.encoded[:0])
	b.put(requestsBucket, []byte(r.ID), b.encoded)
	b.changed[r.ID] = r
}

// forget deletes everything of a request. In feeds its events leave their places, so that offsets
// stay contiguous; what webhook deliveries are yet to send stays until they have.
func (b *batch) forget(r *record) {
	roomy := b.roomy(len(r.Positions.Steps))
	for sequence, at := range r.Positions.all() {
		b.unref(at)
		switch posted := b.posted(dispatch.MessageID(r.Ref(), sequence)); {
		case posted && r.outOfLine != 0:
			b.complete(at)
		case !posted && roomy:
			b.wipe(at)
		}
	}
	b.delete(requestsBucket, []byte(r.ID))
	b.deleteBodies(r.ID)
	b.delete(ownersBucket, ownerKey(r.Owner, r.Serial))
	b.delete(madeBucket, madeKey(r))
	b.key = expiryKey(b.key[:0], r.Due, r.ID)
	b.delete(expiryBucket, b.key)
	if isDead(r) {
		b.exhume(r)
	}
	b.forgetKeys(r)
	b.use(r.Owner, r.Usage(), lifecycle.Usage{})
	if r.HasOutput {
		b.forgetOutput(r.Ref(), r.Owner)
	}
	b.changed[r.ID] = nil
}

// begin counts requests that are unfinished from now on.
func (b *batch) begin(n int) {
	b.begun += n
	b.s.unfinished += n
}

// How much of a bounded file is kept back from new requests, and from changes
// that do not end one, so that what is stored can always end and be forgotten: a
// part of the file, and room for the end of everything unfinished.
const (
	reserveCreate = 8
	reserveChange = 16
	perEnd        = 5 << 10  // bytes that the end of a request takes at most, without a result
	mostReserved  = 64 << 20 // of the part
)

// unref tells that one channel less refers to an event; the last one deletes it.
// The count that is left is kept apart from the event: writing that again would
// take as much room as it frees.
func (b *batch) unref(at uint64) {
	b.key = position(b.key[:0], at)
	var left byte
	count := b.bucket(refsBucket).Get(b.key)
	if len(count) == 1 {
		left = count[0]
	} else if value, err := b.read(eventsBucket, b.key); err != nil {
		_ = b.s.damaged("", "an event", err)
		return // how many refer to it cannot be told
	} else if len(value) >= eventHeader {
		left = value[eventRefs] &^ eventCompact
	} else {
		return // gone
	}
	if left > 1 {
		b.put(refsBucket, b.key, []byte{left - 1})
		return
	}
	b.delete(eventsBucket, b.key)
	if count != nil {
		b.delete(refsBucket, b.key)
	}
}

// roomy reports whether a bounded file has room to change so many events where they are. What is
// not wiped is not told either, see page.tells, and goes with its feeds.
func (b *batch) roomy(events int) bool {
	j, most := b.s.journal, b.s.options.MaxSize
	return most <= 0 || j.room() > most/reserveChange+2*j.grown+events*j.db.Info().PageSize
}

// holds reports whether a bounded file has room to write n bytes into an event.
func (b *batch) holds(n int) bool {
	j := b.s.journal
	return b.s.options.MaxSize <= 0 || j.room() > 2*(j.grown+n)
}

// wipe takes out of an event, if it is there, what it tells.
func (b *batch) wipe(at uint64) {
	b.key = position(b.key[:0], at)
	if value, err := b.read(eventsBucket, b.key); err == nil && len(value) > eventHeader {
		header := bytes.Clone(value[:eventHeader])
		header[eventRefs] &^= eventCompact
		b.put(eventsBucket, b.key, header)
	}
}

// spare reports whether a bounded file has room for n more bytes beside what is
// kept back: 1/part of it, and what unfinished requests and deliveries need.
func (b *batch) spare(n, part int) bool {
	j, most := b.s.journal, b.s.options.MaxSize
	if most <= 0 {
		return true
	}
	kept := min(most/part, mostReserved) + b.s.unfinished*(perEnd+b.s.endpoints.widest*perDelivery) +
		b.s.endpoints.unsettled*perSettle
	if n+2*j.grown+kept > j.room() {
		b.cramped = true
		return false
	}
	return true
}
