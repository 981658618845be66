package bolt

import (
	"bytes"
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// A large body is written ahead of the step that it belongs to, a part of it in a batch: everybody
// who writes waits for the batch that has one. Only one is at a time. All of its pieces are there
// then but the first, without which there is no body, whoever reads; that comes with the step.
// Until then a mark in kept says whose pieces these are, so that they go if the process ends
// before.
const (
	largeBody = 256 << 10        // bytes from which on a body is large
	aheadStep = 64               // pieces that are written in a batch
	aheadMark = "ahead\x00"      // in kept, id 0x00 part → nothing
	mostAside = time.Second      // how long it gives way at most
	unAhead   = 10 * time.Second // how long it is tried to take back what was written in vain
)

// written is a body on its way into the file. The zero value is none.
type written struct {
	id    string
	part  lifecycle.Part
	body  []byte // encoded
	phase phase
	asked bool // the operation would store it, and has not yet
}

// phase is what an operation with a body is run for.
type phase byte

const (
	_ phase = iota // to do all of it, at once
	// It is to say whether it would store the body, and do nothing then; else to do all.
	asks
	finishes // to do the rest: the body is there but for its first piece
)

// size is how much the operation is yet to write of the body, in bytes.
func (w *written) size() int {
	if w == nil || w.phase == finishes {
		return 0
	}
	return len(w.body)
}

// asking reports whether the operation is to change nothing, because it would store the body.
func (w *written) asking() bool {
	if w == nil || w.phase != asks {
		return false
	}
	w.asked = true
	return true
}

// is reports whether two bodies have the same place.
func (w *written) is(other *written) bool {
	return other != nil && w.id == other.id && w.part == other.part
}

func (w *written) mark() []byte {
	return append(append([]byte(aheadMark), w.id...), 0x00, byte(w.part))
}

// pieces is how many there are.
func (w *written) pieces() int {
	return 1 + (max(len(w.body)-firstRoom(len(w.body)), 0)+pieceSize-1)/pieceSize
}

// piece returns one of them, but not the first.
func (w *written) piece(n int) []byte {
	from := firstRoom(len(w.body)) + (n-1)*pieceSize
	return w.body[from:min(from+pieceSize, len(w.body))]
}

// errAhead: what an operation would store is being written ahead by another one.
var errAhead = errors.New("its body is being stored")

// writeBody is write for an operation that stores a body, which may run more than once: as w.phase
// says.
func (s *Store) writeBody(ctx context.Context, w *written, run func(*batch) error) error {
	if len(w.body) < largeBody {
		err := s.write(ctx, func(b *batch) error {
			if w.is(b.s.ahead) {
				return errAhead
			}
			return run(b)
		})
		if !errors.Is(err, errAhead) {
			return err
		}
	}
	select {
	case s.large <- struct{}{}:
		defer func() { <-s.large }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return unavailable(errClosed)
	}
	if len(w.body) < largeBody {
		return s.write(ctx, run)
	}
	return s.writeAhead(ctx, w, run)
}

// writeAhead is called by one at a time.
func (s *Store) writeAhead(ctx context.Context, w *written, run func(*batch) error) (err error) {
	w.phase = asks
	err = s.write(ctx, func(b *batch) error {
		w.asked = false
		if err := run(b); err != nil || !w.asked {
			return err
		}
		b.beginAhead(w)
		return nil
	})
	if err != nil || !w.asked {
		return err
	}
	for from := 1; from < w.pieces() && err == nil; from += aheadStep {
		began, beside := time.Now(), false
		err = s.write(ctx, func(b *batch) error {
			if !b.spare(aheadStep*pieceSize, reserveCreate) {
				return unavailable(errFull)
			}
			for n := from; n < min(from+aheadStep, w.pieces()); n++ {
				b.putPiece(w.id, w.part, n, w.piece(n))
			}
			b.s.journal.touched(aheadStep * pieceSize)
			beside = len(b.ops) > 1 || b.before != nil
			return nil
		})
		if beside && err == nil {
			err = s.giveWay(ctx, time.Since(began))
		}
	}
	if err == nil {
		w.phase = finishes
		err = s.write(ctx, run)
	}
	if err == nil && !w.asked { // finished
		return nil
	}
	// The step has failed, or it stores nothing any more. What cannot be taken back goes at the
	// next start.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unAhead)
	defer cancel()
	_ = s.write(ctx, func(b *batch) error { b.endAhead(w); return nil })
	return err
}

// giveWay leaves the disk to others for as long as a part of a large body has taken: while somebody
// else writes, large bodies have half of it.
func (s *Store) giveWay(ctx context.Context, took time.Duration) error {
	timer := time.NewTimer(min(took, mostAside))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return unavailable(errClosed)
	}
}

// beginAhead notes that the pieces of a body are no body yet.
func (b *batch) beginAhead(w *written) {
	was := b.s.ahead // left by a call that could not take it back
	b.s.ahead = w
	b.undo = append(b.undo, func() { b.s.ahead = was })
	b.put(keptBucket, w.mark(), nil)
}

// putBody stores a body that is not there yet, or what is missing of it.
func (b *batch) putBody(w *written) {
	b.piece = firstPiece(b.piece[:0], w.body)
	b.putPiece(w.id, w.part, 0, b.piece)
	if w.phase != finishes {
		for n := 1; n < w.pieces(); n++ {
			b.putPiece(w.id, w.part, n, w.piece(n))
		}
		b.s.journal.touched(len(w.body))
		return
	}
	b.delete(keptBucket, w.mark())
	b.s.ahead, w.asked = nil, false
	b.undo = append(b.undo, func() { b.s.ahead, w.asked = w, true })
}

// endAhead takes back what was written ahead.
func (b *batch) endAhead(w *written) {
	if b.bucket(piecesBucket).Get(pieceKey(nil, w.id, w.part, 0)) == nil {
		// Otherwise it is another one's body.
		b.deletePieces(bodyKey(nil, w.id, w.part))
	}
	b.delete(keptBucket, w.mark())
	b.s.ahead = nil
}

// dropAhead takes back what was written ahead when the process ended.
func (s *Store) dropAhead() error {
	var left []*written
	if err := s.view(context.Background(), func(tx *bolt.Tx) error {
		left = nil
		cursor := tx.Bucket(keptBucket).Cursor()
		for key, _ := cursor.Seek([]byte(aheadMark)); bytes.HasPrefix(key, []byte(aheadMark)); key, _ = cursor.Next() {
			id, part, ok := bytes.Cut(key[len(aheadMark):], []byte{0x00})
			if ok && len(part) == 1 {
				left = append(left, &written{id: string(id), part: lifecycle.Part(part[0])})
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, w := range left {
		if err := s.write(context.Background(), func(b *batch) error { b.endAhead(w); return nil }); err != nil {
			return err
		}
	}
	return nil
}
