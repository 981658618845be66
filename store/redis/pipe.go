package redis

import (
	"context"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// pipe sends the scripts of many callers together. As long as there are fewer callers
// than lanes, each sends its own at once. The others queue up, and when a lane gets
// free the first of them sends everything that is queued. So nobody waits for
// company, and the busier it is the fewer system calls a script costs, here and in the server.
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

// call is a script on its way.
type call struct {
	script *goredis.Script
	tag    string
	args   []any
	cmd    *goredis.Cmd // the answer, once done is closed
	lead   chan []*call // told to send these, itself the first
	done   chan struct{}
}

const (
	lanes     = 2
	pipeBatch = 64 // scripts sent together
)

// do runs a script. When ctx ends first, it is unknown whether the script runs.
func (p *pipe) do(ctx context.Context, script *goredis.Script, tag string, args []any) ([]any, error) {
	p.mu.Lock()
	if p.busy < lanes {
		p.busy++
		p.mu.Unlock()
		defer p.next()
		return script.Run(ctx, p.client, []string{tag}, args...).Slice()
	}
	c := &call{script: script, tag: tag, args: args, lead: make(chan []*call, 1), done: make(chan struct{})}
	p.queue = append(p.queue, c)
	p.mu.Unlock()
	select {
	case <-c.done:
	case batch := <-c.lead:
		p.send(ctx, batch)
	case <-ctx.Done():
		if p.drop(c) {
			return nil, ctx.Err()
		}
		select {
		case batch := <-c.lead: // a duty to the others
			p.send(ctx, batch)
		default: // somebody is sending it
			return nil, ctx.Err()
		}
	}
	if goredis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
		return script.Run(ctx, p.client, []string{tag}, args...).Slice()
	}
	return c.cmd.Slice()
}

// send sends a batch and tells everybody in it.
func (p *pipe) send(ctx context.Context, batch []*call) {
	defer p.next()
	// The others do not care when the leader's context ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	_, _ = p.client.Pipelined(ctx, func(pipeline goredis.Pipeliner) error {
		for _, c := range batch {
			c.cmd = c.script.EvalSha(ctx, pipeline, []string{c.tag}, c.args...)
		}
		return nil
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
