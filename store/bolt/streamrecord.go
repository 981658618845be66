package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
)

// streamRecord is a stream together with where it stands. It is a value.
type streamRecord struct {
	stream.Stream
	name   stream.Name
	serial uint64 // before its pieces
	last   uint64 // where its last piece begins; its own beginning if it has none
	due    int64  // its place in the index of what expires, 0 for none
}

// base is where the stream's own bytes begin: what is before is that of its source.
func (r *streamRecord) base() uint64 {
	if r.Fork == nil {
		return 0
	}
	return r.Fork.At
}

// size is how many bytes are the stream's own.
func (r *streamRecord) size() int64 { return int64(r.Tail - r.base()) }

// append appends r as it is stored: serial, last, due, codec.AppendStream.
func (r *streamRecord) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.serial)
	dst = binary.AppendUvarint(dst, r.last)
	dst = binary.AppendVarint(dst, r.due)
	return codec.AppendStream(dst, &r.Stream)
}

var errNoStream = errors.New("it is no stream")

// decodeStream returns a stream that shares nothing with value.
func decodeStream(n stream.Name, value []byte) (*streamRecord, error) {
	r := &streamRecord{name: n}
	serial, a := binary.Uvarint(value)
	last, b := binary.Uvarint(value[max(a, 0):])
	if a <= 0 || b <= 0 {
		return nil, errNoStream
	}
	due, c := binary.Varint(value[a+b:])
	if c <= 0 {
		return nil, errNoStream
	}
	r.serial, r.last, r.due = serial, last, due
	if err := codec.DecodeStream(string(value[a+b+c:]), &r.Stream); err != nil {
		return nil, err
	}
	if r.Tail > math.MaxInt64 || r.base() > r.Tail || r.last < r.base() || r.last > r.Tail {
		return nil, errNoStream
	}
	return r, nil
}

// streamWhat is how a stream is called in errors.
func streamWhat(n stream.Name) string {
	if n.Output() {
		return "the output"
	}
	return "the stream " + n.Path
}

// streamDamaged tells of a stream that is not what was stored.
func (s *Store) streamDamaged(n stream.Name, err error) error {
	id := ""
	if n.Output() {
		id = lifecycle.ParseRef(n.Path).ID
	}
	return s.damaged(id, streamWhat(n), err)
}

// streamAt reads a stream, whether it is there for those who name it or not; nil if nothing is
// stored of it.
func (s *Store) streamAt(tx *bolt.Tx, n stream.Name) (*streamRecord, error) {
	value, err := s.journal.read(tx, streamsBucket, []byte(n.Key()))
	if value == nil && err == nil {
		return nil, nil
	}
	var r *streamRecord
	if err == nil {
		r, err = decodeStream(n, value)
	}
	if err != nil {
		return nil, s.streamDamaged(n, err)
	}
	return r, nil
}

// visible returns a stream that is there for those who name it, an output as it stands.
func (s *Store) visible(tx *bolt.Tx, n stream.Name) (*streamRecord, error) {
	if n.Output() {
		of, err := s.readRecord(tx, lifecycle.ParseRef(n.Path))
		if err != nil {
			return nil, outputError(err)
		}
		return s.outputOf(tx, of)
	}
	r, err := s.streamAt(tx, n)
	if err == nil && r == nil {
		err = stream.ErrNotFound
	}
	if err == nil {
		err = r.Lost(s.options.Now())
	}
	return r, err
}

// outputError is the error of an output whose request was not found.
func outputError(err error) error {
	if errors.Is(err, lifecycle.ErrNotFound) {
		return lifecycle.ErrNoOutput
	}
	return err
}

// outputOf returns the output of a request as it stands. Its serial is 0 if nothing is stored of
// it.
func (s *Store) outputOf(tx *bolt.Tx, of *record) (*streamRecord, error) {
	n := lifecycle.OutputName(of.Ref())
	var r *streamRecord
	var err error
	if of.HasOutput {
		if r, err = s.streamAt(tx, n); err != nil {
			return nil, err
		}
		if r == nil {
			return nil, s.streamDamaged(n, errGone)
		}
	} else {
		r = &streamRecord{name: n, Stream: stream.NewOutput(n)}
	}
	r.Stream = lifecycle.OutputOf(&of.Request, r.Stream)
	return r, nil
}

// fresh says which streams have something that is not durable yet, so that who reads of others, or
// what is durable, need not wait.
type fresh struct {
	mu sync.Mutex
	of map[uint64]freshStream // by serial
}

type freshStream struct {
	tail    uint64   // up to where it is durable
	outcome *outcome // of the newest batch that has changed it
}

// changed notes that a batch is changing a stream, that had so many bytes before, and has now.
func (b *batch) changedStream(r *streamRecord, before uint64) {
	f := &b.s.fresh
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[uint64]freshStream)
	}
	was, ok := f.of[r.serial]
	if !ok {
		was.tail = before
	}
	was.outcome = b.outcome
	f.of[r.serial] = was
	b.streams[r.serial] = r.Tail
}

// settle notes the outcome of a batch. When it was taken back, so was whatever came after it.
func (f *fresh) settle(b *batch) {
	if len(b.streams) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for serial, tail := range b.streams {
		is := f.of[serial]
		if is.outcome == b.outcome {
			delete(f.of, serial)
			continue
		}
		is.tail = tail
		f.of[serial] = is
	}
}

// durable reports whether a stream is durable up to a position, and, if all is wanted, in all that
// is known of it.
func (f *fresh) durable(serial, to uint64, all bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	is, ok := f.of[serial]
	return !ok || !all && to <= is.tail
}

// viewStream is view for what reads one stream, and returns whether all that it saw is durable
// anyway.
func (s *Store) viewStream(ctx context.Context, f func(*bolt.Tx) (durable bool, err error)) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recoverDamage(&err)
	for {
		durable := false
		seen, err := s.journal.snapshot(func(tx *bolt.Tx) (err error) {
			durable, err = f(tx)
			return err
		})
		if durable && err == nil {
			return nil
		}
		if <-seen.known; !seen.lost {
			return err
		}
	}
}

// StreamState implements stream.Store.
func (s *Store) StreamState(ctx context.Context, n stream.Name, touch bool) (stream.Stream, error) {
	var r *streamRecord
	if err := s.viewStream(ctx, func(tx *bolt.Tx) (durable bool, err error) {
		if r, err = s.visible(tx, n); err != nil {
			return false, err
		}
		return !n.Output() && s.fresh.durable(r.serial, 0, true), nil
	}); err != nil {
		return stream.Stream{}, err
	}
	if !touch || !r.Touch(s.options.Now()) {
		return r.Stream, nil
	}
	err := s.write(ctx, func(b *batch) (err error) {
		if r, err = b.visible(n); err == nil && r.Touch(b.now) {
			r.Touched = b.now
			b.changedStream(r, r.Tail)
			b.saveStream(r)
		}
		return err
	})
	if err != nil {
		return stream.Stream{}, err
	}
	return r.Stream, nil
}

// ReadStream implements stream.Store.
func (s *Store) ReadStream(ctx context.Context, n stream.Name, p []byte, from uint64) (int, error) {
	read := 0
	err := s.viewStream(ctx, func(tx *bolt.Tx) (bool, error) {
		r, err := s.visible(tx, n)
		if err != nil {
			return false, err
		}
		read, err = s.readStream(tx, r, p, from)
		return s.fresh.durable(r.serial, from+uint64(read), read == 0), err
	})
	if err != nil {
		return 0, err
	}
	return read, nil
}

// readStream fills p with bytes of a stream, from a position on, as far as there are any. What a
// fork inherits is read from its source, which is kept for it.
func (s *Store) readStream(tx *bolt.Tx, r *streamRecord, p []byte, from uint64) (n int, err error) {
	if from >= r.Tail {
		return 0, nil
	}
	p = p[:min(uint64(len(p)), r.Tail-from)]
	if base := r.base(); from < base && len(p) > 0 {
		source, err := s.streamAt(tx, r.Fork.From)
		if err != nil {
			return 0, err
		}
		if source == nil || source.Tail < base {
			return 0, s.streamDamaged(r.name, errGone)
		}
		n, err = s.readStream(tx, source, p[:min(uint64(len(p)), base-from)], from)
		if err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		if err := readOwn(tx, r, p[n:], from+uint64(n)); err != nil {
			return 0, s.streamDamaged(r.name, err)
		}
	}
	s.journal.touched(len(p) - n)
	return len(p), nil
}

// readOwn fills p with bytes that are the stream's own, all of which have to be there.
func readOwn(tx *bolt.Tx, r *streamRecord, p []byte, from uint64) error {
	cursor := tx.Bucket(streamPiecesBucket).Cursor()
	want := streamPieceKey(nil, r.serial, from)
	key, stored := cursor.Seek(want)
	if !bytes.Equal(key, want) {
		key, stored = seekBefore(cursor, want)
	}
	for len(p) > 0 {
		if len(key) != 16 || !bytes.Equal(key[:8], want[:8]) {
			return errPieces
		}
		piece, err := unseal(true, streamPiecesBucket, key, stored)
		if err != nil {
			return err
		}
		begin := offsetOf(key)
		if begin > from || from-begin >= uint64(len(piece)) {
			return errPieces
		}
		n := copy(p, piece[from-begin:])
		p, from = p[n:], from+uint64(n)
		if len(p) > 0 {
			key, stored = cursor.Next()
		}
	}
	return nil
}

func streamPieceKey(dst []byte, serial, from uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, serial), from)
}

// readChannel answers Read for a stream.
func (s *Store) readChannel(ctx context.Context, n stream.Name, after uint64, limit int) (h lifecycle.History, err error) {
	err = s.viewStream(ctx, func(tx *bolt.Tx) (bool, error) {
		r, err := s.visible(tx, n)
		if errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrGone) {
			h = lifecycle.NoStream(after, limit)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		h, err = lifecycle.StreamHistory(&r.Stream, after, limit, func(p []byte, from uint64) (int, error) {
			return s.readStream(tx, r, p, from)
		})
		return !n.Output() && s.fresh.durable(r.serial, 0, true), err
	})
	if err != nil {
		return lifecycle.History{}, err
	}
	return h, nil
}
