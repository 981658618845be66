package bolt

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// maxBatch bounds how many operations share a sync.
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

var errClosed = errors.New("it is closed")

// write has the writer run an operation and returns its error once its batch
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

// writer runs until Close, and answers everything that was queued before. It is the first stage of
// the pipeline.
func (s *Store) writer() {
	defer close(s.done)
	p := newPipeline(s)
	defer p.end()
	ops := make([]*op, 0, maxBatch)
	idle := time.NewTimer(s.options.CheckpointAfter) // there may be a log from before
	defer idle.Stop()
	for {
		arrivals, quiet := s.ops, idle.C
		if p.inFlight != nil {
			quiet = nil
		}
		if p.room() == 0 {
			arrivals = nil
		}
		select {
		case err := <-p.flushed:
			p.land(err)
			idle.Reset(s.options.CheckpointAfter)
		case o := <-arrivals:
			// Callers that have just been answered are about to come
			// back: let them, so that they share this batch.
			runtime.Gosched()
			p.take(s.gather(append(ops[:0], o), p.room()))
			idle.Reset(s.options.CheckpointAfter)
		case <-quiet:
			// What is waited for may wait for long, and is read again when it goes on.
			s.live.clear()
			_ = s.emptyLog() // what it cannot do is still in the log, and the next batch tells
		case <-s.closing:
			for {
				for p.room() == 0 {
					p.land(<-p.flushed)
				}
				ops = s.gather(ops[:0], p.room())
				if len(ops) == 0 {
					return
				}
				p.take(ops)
			}
		}
	}
}

// gather adds what waits, up to a number of operations.
func (s *Store) gather(ops []*op, most int) []*op {
	for len(ops) < most {
		select {
		case o := <-s.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

// emptyLog writes what is in the log into the file, and lets go of memory. Nothing is in flight.
func (s *Store) emptyLog() error {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	err := s.journal.emptyLog()
	s.journal.letGo()
	return err
}

// view runs f on what is durable. f must not keep what it reads, and begins anew when it runs
// again, see journal.view.
func (s *Store) view(ctx context.Context, f func(*bolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer recoverDamage(&err)
	return s.journal.view(f)
}

// load reads a request as it is durable.
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
		if r, err = s.readRecord(tx, lifecycle.Named(id)); err == nil {
			r, err = s.whole(tx, r)
		}
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
func (s *Store) readRecord(tx *bolt.Tx, of lifecycle.Ref) (*record, error) {
	r, err := s.record(tx, of.ID)
	if err == nil && !of.Of(&r.Request) {
		return nil, lifecycle.ErrNotFound
	}
	return r, err
}

// record returns the record of a request, lifecycle.ErrNotFound if there is none. It may lack the
// value of the result, see whole.
func (s *Store) record(tx *bolt.Tx, id string) (*record, error) {
	value, err := s.journal.read(tx, requestsBucket, []byte(id))
	if value == nil && err == nil {
		return nil, lifecycle.ErrNotFound
	}
	var r *record
	if err == nil {
		r, err = decodeRecord(id, value)
	}
	if err != nil {
		return nil, s.damaged(id, "the record", err)
	}
	return r, nil
}
