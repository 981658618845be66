package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// A stream is a record under its name and pieces under a serial, which nothing had before. Small
// appends are joined: one goes into the last piece as long as that is smaller than smallPiece, so
// the file has no entry for each token of a model, and no append writes much more than itself.

// smallPiece is up to how many bytes a piece is written anew with what comes behind it.
const smallPiece = 512

// perStream is about what a stream takes in the file beside its bytes, perAppend what an append
// may, in bytes.
const (
	perStream = 2 << 10
	perAppend = 1 << 10
)

// leftMark is in kept, before the serial of a stream that is gone: pieces of it are still there.
const leftMark = "left\x00"

// dropAtOnce is how many bytes of a stream that goes are deleted in the step that lets it go. The
// sweep does the rest.
const dropAtOnce = 64 * pieceSize

// errParted: a source is not any more the one of which was read where a fork is to part from it.
var errParted = errors.New("the source of the fork was replaced")

// parting is where a fork parts from its source, as it was read before the fork is made.
type parting struct {
	serial     uint64 // of the source
	at, offset uint64
	err        error
}

// CreateStream implements stream.Store.
func (s *Store) CreateStream(ctx context.Context, n stream.Name, c stream.Create) (st stream.Stream, made bool, err error) {
	if n.Output() {
		return stream.Stream{}, false, errOutput
	}
	c.Prepare()
	c.Body = bytes.Clone(c.Body) // followers get it, and the caller's is the caller's
	for {
		var parts parting
		if c.Fork != nil {
			if parts, err = s.parting(ctx, c.Fork); err != nil {
				return stream.Stream{}, false, err
			}
		}
		err = s.writeLarge(ctx, len(c.Body), func(b *batch) (err error) {
			st, made, err = b.createStream(n, &c, &parts)
			return err
		})
		if !errors.Is(err, errParted) {
			break
		}
	}
	if err != nil {
		return stream.Stream{}, false, err
	}
	return st, made, nil
}

var errOutput = errors.New("the output of a request is made and deleted with that")

// writeLarge is write; of operations with large bodies one runs at a time.
func (s *Store) writeLarge(ctx context.Context, size int, run func(*batch) error) error {
	if size >= largeBody {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return unavailable(errClosed)
		}
	}
	return s.write(ctx, run)
}

// parting reads where a fork is to part from its source, if bytes of that say so: it may have to
// read much, while nobody waits for it. Whether the fork can be made at all is decided later.
func (s *Store) parting(ctx context.Context, of *stream.ForkOf) (p parting, err error) {
	if of.Offset == "" {
		return p, nil
	}
	var source *streamRecord
	err = s.viewStream(ctx, func(tx *bolt.Tx) (bool, error) {
		source, err = s.streamAt(tx, of.From)
		return false, err
	})
	if err != nil || source == nil {
		return p, err
	}
	p.serial = source.serial
	p.at, p.offset, p.err = source.Parting(of, func(to []byte, from uint64) (read int, err error) {
		err = s.viewStream(ctx, func(tx *bolt.Tx) (bool, error) {
			is, err := s.streamAt(tx, of.From)
			if err != nil {
				return false, err
			}
			if is == nil || is.serial != source.serial {
				return false, errParted
			}
			read, err = s.readStream(tx, is, to, from)
			return true, err
		})
		return read, err
	})
	switch {
	case errors.Is(p.err, errParted): // which is seen again when the fork is made
		return parting{}, nil
	case p.err != nil && !errors.Is(p.err, stream.ErrOffset):
		return p, p.err
	}
	return p, nil
}

// stream reads a stream, nil if nothing is stored of it.
func (b *batch) stream(n stream.Name) (*streamRecord, error) { return b.s.streamAt(b.s.journal.tx, n) }

// visible is that of the store, for what is not durable yet, too.
func (b *batch) visible(n stream.Name) (*streamRecord, error) { return b.s.visible(b.s.journal.tx, n) }

func (b *batch) createStream(n stream.Name, c *stream.Create, parts *parting) (stream.Stream, bool, error) {
	there, err := b.stream(n)
	if err != nil {
		return stream.Stream{}, false, err
	}
	if there != nil {
		switch err := there.Lost(b.now); {
		case err == nil && there.Is(c):
			return there.Stream, false, nil
		case !errors.Is(err, stream.ErrNotFound):
			return stream.Stream{}, false, stream.ErrConflict
		}
	}
	r := &streamRecord{name: n}
	var stored []byte
	var source *streamRecord
	if c.Fork == nil {
		r.Stream, stored, err = stream.New(b.now, c)
	} else if source, err = b.source(c.Fork); err == nil {
		r.Stream, stored, err = b.fork(c, source, parts)
	}
	if err == nil {
		err = b.admitBytes(n.Owner, len(stored), c.Quota)
	}
	if err == nil && !b.spare(len(stored)+perStream, reserveCreate) {
		err = unavailable(errFull)
	}
	if err != nil {
		return stream.Stream{}, false, err
	}
	if there != nil { // its time is over
		b.endStream(there)
		if source != nil { // which may have counted that one
			if source, err = b.source(c.Fork); err != nil {
				b.err = err // something was changed already
				return stream.Stream{}, false, err
			}
		}
	}
	if source != nil {
		source.Forks++
		b.changedStream(source, source.Tail)
		b.saveStream(source)
	}
	b.addStream(r, stored)
	return r.Stream, true, nil
}

// source returns what is to be forked.
func (b *batch) source(of *stream.ForkOf) (*streamRecord, error) {
	if of.From.Output() {
		return nil, stream.ErrNotFound
	}
	source, err := b.visible(of.From)
	if errors.Is(err, stream.ErrGone) {
		err = stream.ErrConflict
	}
	return source, err
}

func (b *batch) fork(c *stream.Create, source *streamRecord, parts *parting) (stream.Stream, []byte, error) {
	at, offset, err := parts.at, parts.offset, parts.err
	switch {
	case c.Fork.Offset == "":
		at, offset, err = source.Parting(c.Fork, nil) // at its end, which reads nothing
	case parts.serial != source.serial:
		return stream.Stream{}, nil, errParted
	}
	if err != nil {
		return stream.Stream{}, nil, err
	}
	return stream.NewFork(b.now, c, &source.Stream, at, offset)
}

// admitBytes returns an error if an owner may not have so many bytes more.
func (b *batch) admitBytes(owner string, more int, q stream.Quota) error {
	if more > 0 && q.Stored > 0 && b.usage(owner).Bytes+int64(more) > q.Stored {
		return &stream.SizeError{What: "owner", Limit: q.Stored}
	}
	return nil
}

// addStream stores a new stream with its first bytes.
func (b *batch) addStream(r *streamRecord, stored []byte) {
	r.serial = b.sequence(streamsBucket)
	r.last = r.base()
	before := r.Tail - uint64(len(stored))
	b.changedStream(r, before)
	b.putBytes(r, before, stored)
	b.use(r.name.Owner, lifecycle.Usage{}, lifecycle.Usage{Bytes: int64(len(stored))})
	if due := r.Due(); !due.IsZero() {
		r.due = dueAt(due)
		b.put(streamDueBucket, streamDueKey(r.due, r.name), nil)
	}
	b.saveStream(r)
	b.told(r, stored)
}

// told tells followers of an append that has made a stream what it is.
func (b *batch) told(r *streamRecord, stored []byte) {
	key := r.name.Key()
	for _, m := range lifecycle.StreamAppended(&r.Stream, stored) {
		b.notifications = append(b.notifications, n{key, m})
	}
}

func (b *batch) saveStream(r *streamRecord) {
	b.encoded = r.append(b.encoded[:0])
	b.put(streamsBucket, []byte(r.name.Key()), b.encoded)
}

// putBytes stores bytes that begin at a position, which is the end of what the stream has.
func (b *batch) putBytes(r *streamRecord, from uint64, p []byte) {
	if have := from - r.last; len(p) > 0 && have > 0 && have < smallPiece {
		b.key = streamPieceKey(b.key[:0], r.serial, r.last)
		// Nobody hands out what is damaged: it stays to be found where it is.
		if last, err := b.read(streamPiecesBucket, b.key); err == nil && uint64(len(last)) == have {
			n := min(len(p), pieceSize-len(last))
			b.piece = append(append(b.piece[:0], last...), p[:n]...)
			b.put(streamPiecesBucket, b.key, b.piece)
			p, from = p[n:], from+uint64(n)
		}
	}
	size := len(p)
	for len(p) > 0 {
		n := min(len(p), pieceSize)
		b.key = streamPieceKey(b.key[:0], r.serial, from)
		b.put(streamPiecesBucket, b.key, p[:n])
		r.last = from
		p, from = p[n:], from+uint64(n)
	}
	b.s.journal.touched(size)
}

// AppendStream implements stream.Store.
func (s *Store) AppendStream(ctx context.Context, n stream.Name, a stream.Append) (stream.Appended, error) {
	if a.Prepare(); len(a.Body) > 0 {
		a.Body = bytes.Clone(a.Body) // followers get it, and the caller's is the caller's
	}
	var added stream.Appended
	err := s.writeLarge(ctx, len(a.Body), func(b *batch) (err error) {
		if n.Output() {
			added, err = b.appendOutput(n, &a)
		} else {
			added, err = b.appendStream(n, &a)
		}
		return err
	})
	if err != nil {
		return stream.Appended{}, err
	}
	return added, nil
}

func (b *batch) appendStream(n stream.Name, a *stream.Append) (stream.Appended, error) {
	r, err := b.visible(n)
	if err != nil {
		return stream.Appended{}, err
	}
	added, stored, err := r.Append(b.now, a)
	if err != nil || added.Repeated {
		return added, err
	}
	return added, b.extend(r, &added.Stream, n.Owner, stored, a.Quota)
}

// extend makes a stream what an append has made of it, unless there is no room for that.
func (b *batch) extend(r *streamRecord, after *stream.Stream, owner string, stored []byte, q stream.Quota) error {
	if err := b.admitBytes(owner, len(stored), q); err != nil {
		return err
	}
	if len(stored) > 0 && !b.spare(len(stored)+perAppend, reserveChange) {
		return unavailable(errFull)
	}
	before := r.Tail
	if r.serial == 0 {
		r.serial = b.sequence(streamsBucket)
	}
	r.Stream = *after
	b.changedStream(r, before)
	b.putBytes(r, before, stored)
	b.use(owner, lifecycle.Usage{}, lifecycle.Usage{Bytes: int64(len(stored))})
	b.saveStream(r)
	b.told(r, stored)
	return nil
}

func (b *batch) appendOutput(n stream.Name, a *stream.Append) (stream.Appended, error) {
	of, err := b.findRequest(lifecycle.ParseRef(n.Path))
	if err != nil {
		return stream.Appended{}, outputError(err)
	}
	if n != lifecycle.OutputName(of.Ref()) { // whichever life there is was not named
		return stream.Appended{}, lifecycle.ErrNoOutput
	}
	r, err := b.s.outputOf(b.s.journal.tx, of)
	if err != nil {
		return stream.Appended{}, err
	}
	added, stored, err := lifecycle.AppendOutput(&of.Request, r.Stream, b.now, *a)
	if err != nil || added.Repeated || added.Stream.Tail == r.Tail {
		return added, err
	}
	if err := b.extend(r, &added.Stream, of.Owner, stored, a.Quota); err != nil {
		return stream.Appended{}, err
	}
	if !of.HasOutput {
		of = new(*of)
		of.HasOutput = true
		b.save(of)
	}
	return added, nil
}

// endOutput tells the followers of an output that its request has ended, and with it the output.
func (b *batch) endOutput(of *record) {
	r, err := b.s.outputOf(b.s.journal.tx, of)
	if err != nil { // it is damaged, which was told: they find out when they read
		return
	}
	b.notifications = append(b.notifications, n{r.name.Key(), lifecycle.StreamEnd(&r.Stream)})
}

// forgetOutput forgets the output of a request together with that.
func (b *batch) forgetOutput(of lifecycle.Ref, owner string) {
	n := lifecycle.OutputName(of)
	r, err := b.stream(n)
	switch {
	case err != nil: // it is damaged, which was told
		b.delete(streamsBucket, []byte(n.Key()))
	case r != nil:
		b.dropStream(r, owner)
	}
}

// DeleteStream implements stream.Store.
func (s *Store) DeleteStream(ctx context.Context, n stream.Name) error {
	if n.Output() {
		return errOutput
	}
	return s.write(ctx, func(b *batch) error {
		r, err := b.visible(n)
		if err != nil {
			return err
		}
		b.endStream(r)
		return nil
	})
}

// endStream lets go of a stream: it is forgotten, or kept for its forks only.
func (b *batch) endStream(r *streamRecord) {
	b.notifications = append(b.notifications, n{r.name.Key(), lifecycle.StreamGone(&r.Stream)})
	if r.Forks == 0 {
		b.dropStream(r, r.name.Owner)
		return
	}
	b.unschedule(r)
	r.Deleted = true
	b.changedStream(r, r.Tail)
	b.saveStream(r)
}

// dropStream forgets a stream, and those that were kept only for it, one after the other.
func (b *batch) dropStream(r *streamRecord, owner string) {
	for r != nil {
		b.unschedule(r)
		b.delete(streamsBucket, []byte(r.name.Key()))
		b.changedStream(r, r.Tail)
		if owner != "" { // that of a request whose record was damaged may not be known
			b.use(owner, lifecycle.Usage{Bytes: r.size()}, lifecycle.Usage{})
		}
		b.dropPieces(r)
		if r.Fork == nil {
			return
		}
		source, err := b.stream(r.Fork.From)
		if err != nil || source == nil { // which was told
			return
		}
		source.Forks--
		if !source.Deleted || source.Forks > 0 {
			b.changedStream(source, source.Tail)
			b.saveStream(source)
			return
		}
		r, owner = source, source.name.Owner
	}
}

// unschedule takes a stream out of the index of what expires.
func (b *batch) unschedule(r *streamRecord) {
	if r.due != 0 {
		b.delete(streamDueBucket, streamDueKey(r.due, r.name))
		r.due = 0
	}
}

// dropPieces deletes the bytes of a stream that is gone; of many only the first, and leaves a mark
// for the others.
func (b *batch) dropPieces(r *streamRecord) {
	if r.size() > 0 && !b.deleteStreamPieces(r.serial, dropAtOnce/smallPiece) {
		b.put(keptBucket, leftKey(r.serial), nil)
	}
}

func leftKey(serial uint64) []byte { return position([]byte(leftMark), serial) }

// deleteStreamPieces deletes pieces of a stream, at most so many, and reports whether all are gone.
func (b *batch) deleteStreamPieces(serial uint64, most int) bool {
	prefix := position(nil, serial)
	keys := make([][]byte, 0, 16) // gathered first: a cursor does not outlive a change
	cursor, key := cursorAt(b.bucket(streamPiecesBucket), prefix)
	for ; bytes.HasPrefix(key, prefix) && len(keys) < most; key, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	all := !bytes.HasPrefix(key, prefix)
	for _, key := range keys {
		b.delete(streamPiecesBucket, key)
	}
	return all
}

// clearLeft deletes what is left of streams that are gone, at most so many pieces, and reports
// whether it is through.
func (b *batch) clearLeft(limit int) (through bool) {
	key, _ := b.bucket(keptBucket).Cursor().Seek([]byte(leftMark))
	if !bytes.HasPrefix(key, []byte(leftMark)) {
		return true
	}
	key = bytes.Clone(key)
	if b.deleteStreamPieces(offsetOf(key), limit) {
		b.delete(keptBucket, key)
	}
	return false
}

// streamDueKey is where a stream stands in the index of what expires.
// dueAt is a time in the index of what expires, in which 0 is none.
func dueAt(t time.Time) int64 { return max(nanosAt(t), 1) }

func streamDueKey(due int64, n stream.Name) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(due)), n.Key()...)
}

// sweepStreams lets go of the first limit streams that are due, and reports when the next one is,
// and whether more are due now.
func (b *batch) sweepStreams(limit int) (done int, next time.Time, more bool) {
	now := nanos(b.now)
	var due [][]byte // gathered first: a cursor does not outlive a change
	cursor := b.bucket(streamDueBucket).Cursor()
	for key, _ := cursor.First(); key != nil && len(due) < limit; key, _ = cursor.Next() {
		if int64(binary.BigEndian.Uint64(key)) > now {
			break
		}
		due = append(due, bytes.Clone(key))
	}
	for _, key := range due {
		if b.sweepStream(key) {
			done++
		}
	}
	key, _ := b.bucket(streamDueBucket).Cursor().First()
	if key == nil {
		return done, time.Time{}, false
	}
	at := int64(binary.BigEndian.Uint64(key))
	return done, time.Unix(0, at).UTC(), at <= now
}

// sweepStream lets go of a stream by its place in the index, unless it was touched since.
func (b *batch) sweepStream(key []byte) bool {
	b.delete(streamDueBucket, key)
	name, ok := stream.ParseKey(string(key[8:]))
	if !ok {
		return false
	}
	r, err := b.stream(name)
	if err != nil { // it is damaged, which was told, and the others go on
		b.put(streamDueBucket, streamDueKey(nanos(b.now.Add(damagedAgain)), name), nil)
		return false
	}
	if r == nil || r.Deleted {
		return false
	}
	r.due = 0
	if r.Lost(b.now) != nil {
		b.endStream(r)
		return true
	}
	if due := r.Due(); !due.IsZero() {
		r.due = dueAt(due)
		b.put(streamDueBucket, streamDueKey(r.due, name), nil)
	}
	b.changedStream(r, r.Tail)
	b.saveStream(r)
	return false
}
