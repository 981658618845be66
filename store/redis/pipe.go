package redis

import (
	"context"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// pipe sends the commands of many callers together. As long as there are fewer callers
// than lanes, each sends its own at once. The others queue up, and when a lane gets
// free the first of them sends everything that is queued. So nobody waits for
// company, and the busier it is the fewer system calls a command costs, here and in the server.
//
// It is for a single server: in a Cluster one node that does not answer would hold up
// the calls to all.
type pipe struct {
	client  goredis.UniversalClient
	timeout time.Duration

	mu    sync.Mutex
	busy  int // lanes in use
	queue []*call
}

// call is what a caller has to send.
type call struct {
	add  func(goredis.Pipeliner) // adds its commands, which have their answers once done is closed
	lead chan []*call            // told to send these, itself the first
	done chan struct{}
}

const (
	lanes     = 2
	pipeBatch = 64 // callers whose commands are sent together
)

// do sends the commands that add adds, and returns when they have their answers or errors. When ctx ends first, it
// returns that, and it is unknown whether they are carried out: then nothing of them may be looked at.
func (p *pipe) do(ctx context.Context, add func(goredis.Pipeliner)) error {
	p.mu.Lock()
	if p.busy < lanes {
		p.busy++
		p.mu.Unlock()
		defer p.next()
		p.exec(ctx, add)
		return nil
	}
	c := &call{add: add, lead: make(chan []*call, 1), done: make(chan struct{})}
	p.queue = append(p.queue, c)
	p.mu.Unlock()
	select {
	case <-c.done:
	case batch := <-c.lead:
		p.send(ctx, batch)
	case <-ctx.Done():
		if p.drop(c) {
			return ctx.Err()
		}
		select {
		case batch := <-c.lead: // a duty to the others
			p.send(ctx, batch)
		default: // somebody is sending it
			return ctx.Err()
		}
	}
	return nil
}

// exec sends commands in one round trip. Each has its error.
func (p *pipe) exec(ctx context.Context, add func(goredis.Pipeliner)) {
	_, _ = p.client.Pipelined(ctx, func(pipeline goredis.Pipeliner) error {
		add(pipeline)
		return nil
	})
}

// send sends a batch and tells everybody in it.
func (p *pipe) send(ctx context.Context, batch []*call) {
	defer p.next()
	// The others do not care when the leader's context ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	p.exec(ctx, func(pipeline goredis.Pipeliner) {
		for _, c := range batch {
			c.add(pipeline)
		}
	})
	for _, c := range batch {
		close(c.done)
	}
}

// next hands the lane to whoever waits.
func (p *pipe) next() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.busy--
		return
	}
	batch := p.queue
	p.queue = nil
	if len(batch) > pipeBatch {
		p.queue = append(p.queue, batch[pipeBatch:]...)
		batch = batch[:pipeBatch:pipeBatch]
	}
	batch[0].lead <- batch
}

// drop takes a call out of the queue. It reports false if it is not there any more.
func (p *pipe) drop(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.queue {
		if other == c {
			p.queue = append(p.queue[:i:i], p.queue[i+1:]...)
			return true
		}
	}
	return false
}
