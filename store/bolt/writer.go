package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// maxBatch bounds how many operations share a commit.
const maxBatch = 512

// op is an operation that waits for the writer.
type op struct {
	run  func(*batch) error
	err  error         // set before done
	done chan struct{} // closed when the operation has been answered
	took atomic.Int32  // queued, then either taken or abandoned
}

const (
	queued = iota
	taken
	abandoned
)

var (
	errClosed  = errors.New("it is closed")
	errNothing = errors.New("nothing to commit")
)

// write has the writer run an operation and returns its error once its commit
// is on disk. If ctx ends before the writer has taken the operation, it is not run
// and the error is that of ctx; afterwards write waits, so that the outcome is
// always known.
//
// run returns the errors of the domain before it changes anything; errors of the
// database are kept by the batch.
func (s *Store) write(ctx context.Context, run func(*batch) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o := &op{run: run, done: make(chan struct{})}
	select {
	case <-s.closing: // first, because select below chooses at random
		return unavailable(errClosed)
	default:
	}
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return unavailable(errClosed)
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		if o.took.CompareAndSwap(queued, abandoned) {
			return ctx.Err()
		}
	case <-s.done:
		if o.took.CompareAndSwap(queued, abandoned) {
			return unavailable(errClosed)
		}
	}
	<-o.done
	return o.err
}

// writer runs until Close, and answers everything that was queued before.
func (s *Store) writer() {
	defer close(s.done)
	b := newBatch(s)
	ops := make([]*op, 0, maxBatch)
	idle := time.NewTimer(s.options.CheckpointAfter) // there may be a log from before
	defer idle.Stop()
	for {
		select {
		case o := <-s.ops:
			// Callers that the last commit has answered are about to come
			// back: let them, so that they share this one.
			runtime.Gosched()
			s.commit(b, s.gather(append(ops[:0], o)))
			idle.Reset(s.options.CheckpointAfter)
		case <-idle.C:
			_ = s.rest() // what it cannot do is still in the log, and the next batch tells
		case <-s.closing:
			for {
				ops = s.gather(ops[:0])
				if len(ops) == 0 {
					return
				}
				s.commit(b, ops)
			}
		}
	}
}

// gather adds what waits.
func (s *Store) gather(ops []*op) []*op {
	for len(ops) < maxBatch {
		select {
		case o := <-s.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

// commit runs operations as one batch and answers them: when it is durable, what it changed becomes visible, then
// the bell rings, then the callers return.
func (s *Store) commit(b *batch, ops []*op) {
	live := ops[:0]
	for _, o := range ops {
		if o.took.CompareAndSwap(queued, taken) {
			live = append(live, o)
		}
	}
	err := s.update(b, live)
	switch {
	case err == nil:
		b.announce()
	case errors.Is(err, errNothing):
	default:
		b.revert()
		for _, o := range live {
			o.err = unavailable(err)
		}
	}
	for _, o := range live {
		close(o.done)
	}
	b.reset()
}

// rest empties the log.
func (s *Store) rest() error {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.rest()
}

// update runs a batch and makes it durable, while nobody reads. Each op has its own error of the domain afterwards; an
// error of the whole means that nothing was changed.
func (s *Store) update(b *batch, ops []*op) error {
	j := s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	err := s.attempt(b, ops)
	switch {
	case err == nil:
		s.live.keep(b.changed)
	case !errors.Is(err, errNothing):
		j.takeBack()
	case b.cramped: // what was deleted may be room that the file does not know of yet
		_ = j.rest()
	}
	return err
}

func (s *Store) attempt(b *batch, ops []*op) (err error) {
	defer recoverDamage(&err)
	if err := s.journal.prepare(); err != nil {
		return err
	}
	for _, o := range ops {
		writes := b.writes
		o.err = b.run(o)
		if b.err == nil && o.err != nil && b.writes != writes {
			b.err = fmt.Errorf("operation failed half-done: %w", o.err)
		}
		if b.err != nil {
			return b.err
		}
	}
	if b.writes == 0 {
		return errNothing
	}
	return s.journal.commit()
}

// view runs f on what is durable. f must not keep what it reads.
func (s *Store) view(ctx context.Context, f func(*bolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recoverDamage(&err)
	return s.journal.view(f)
}

// load reads a request as it was last committed.
func (s *Store) load(ctx context.Context, id string) (*record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.isClosed() {
		return nil, unavailable(errClosed)
	}
	if r := s.live.get(id); r != nil {
		return r, nil
	}
	var r *record
	err := s.view(ctx, func(tx *bolt.Tx) (err error) {
		r, err = readRecord(tx, id)
		return err
	})
	return r, err
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// readRecord returns lifecycle.ErrNotFound if there is no such request.
func readRecord(tx *bolt.Tx, id string) (*record, error) {
	value := tx.Bucket(requestsBucket).Get([]byte(id))
	if value == nil {
		return nil, lifecycle.ErrNotFound
	}
	return decodeRecord(id, value)
}
