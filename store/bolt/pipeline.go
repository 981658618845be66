package bolt

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// pipeline is how batches become durable, in two stages: while the flusher puts the frame of one
// batch into the log and syncs it, the writer runs operations in the next one. One batch is in
// flight at most; what waits meanwhile joins the one that is running, which follows as soon as the
// one before is on disk.
//
// All is the writer's but for the batch in flight: when that is on disk, the flusher makes it
// known, so that its callers do not wait for the writer. What cannot go to the log waits until
// nothing is in flight, and the writer commits it to the file.
type pipeline struct {
	s        *Store
	running  *batch
	inFlight *batch // nil if there is none
	spare    *batch // the other one, if nothing is in flight

	frames  chan *batch // to the flusher
	flushed chan error  // from it, one for each batch
	flusher sync.WaitGroup
}

func newPipeline(s *Store) *pipeline {
	p := &pipeline{s: s, running: newBatch(s), spare: newBatch(s), frames: make(chan *batch), flushed: make(chan error, 1)}
	p.flusher.Go(p.flush)
	return p
}

// end waits until everything that was taken has been answered.
func (p *pipeline) end() {
	for p.inFlight != nil {
		p.land(<-p.flushed)
	}
	close(p.frames)
	p.flusher.Wait()
}

// acknowledgeAfter is how often it is noted, while one frame follows the other, how far the log is
// whole: a sync has one page more to write then. With nothing in flight that is noted at once.
const acknowledgeAfter = 5 * time.Millisecond

// flush is the second stage.
func (p *pipeline) flush() {
	var acknowledged time.Time
	for b := range p.frames {
		err := p.s.journal.log(b.frame)
		if err == nil {
			if now := time.Now(); now.Sub(acknowledged) >= acknowledgeAfter {
				p.s.journal.acknowledge()
				acknowledged = now
			}
			b.answer(nil)
		}
		p.flushed <- err
	}
}

// room is how many operations the running batch can take before the one in flight has landed.
func (p *pipeline) room() int {
	if p.inFlight != nil && (p.running.stuck() || len(p.flushed) > 0) {
		return 0
	}
	return maxBatch - len(p.running.ops)
}

// take runs operations, and brings the batch on its way if nothing is in flight.
func (p *pipeline) take(ops []*op) {
	j := p.s.journal
	j.mu.Lock()
	p.running.apply(ops)
	if p.inFlight == nil && p.running.stuck() { // before anybody reads what may be taken back
		p.save(p.running)
	}
	j.mu.Unlock()
	if p.inFlight == nil {
		p.advance()
	}
}

// land is called when the log has the batch in flight, or has refused it.
func (p *pipeline) land(err error) {
	b := p.inFlight
	p.inFlight, p.spare, p.running.before = nil, b, nil
	if err != nil { // the transaction has the running one, too
		p.s.journal.mu.Lock()
		p.s.journal.refuse()
		p.save(b, p.running)
		p.s.journal.mu.Unlock()
		return
	}
	b.reset()
	p.advance()
	if p.inFlight == nil {
		p.s.journal.mu.Lock() // against a checkpoint that somebody else asks for
		p.s.journal.acknowledge()
		p.s.journal.mu.Unlock()
	}
}

// advance brings the running batch on its way. Nothing is in flight.
func (p *pipeline) advance() {
	b, j := p.running, p.s.journal
	switch {
	case len(b.ops) == 0:
	case b.stuck():
		j.mu.Lock()
		p.save(b)
		j.mu.Unlock()
	case b.writes == 0: // what it says rests on what is durable now
		if b.cramped { // what was deleted may be room that the file does not know of yet
			_ = p.s.emptyLog()
		}
		b.answer(nil)
		b.reset()
	default:
		b.frame = j.seal()
		p.inFlight, p.running, p.spare = b, p.spare, nil
		p.running.before = b
		p.frames <- b
		runtime.Gosched() // it is to begin at once
	}
}

// save commits to the file what is in the transaction, and with it batches that are not in the log,
// the oldest first. If the file does not take them either, or one of them has failed, all are taken
// back, the newest first. Nobody reads.
func (p *pipeline) save(batches ...*batch) {
	j := p.s.journal
	var err error
	for _, b := range batches {
		if err == nil {
			err = b.err
		}
	}
	if err == nil {
		err = j.checkpoint(j.number + 1)
	}
	if err != nil {
		for _, b := range slices.Backward(batches) {
			b.revert()
		}
		j.takeBack()
	}
	for _, b := range batches {
		b.answer(err)
		b.reset()
	}
}
