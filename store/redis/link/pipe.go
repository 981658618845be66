package link

import (
	"context"
	"errors"
	"slices"
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
	add  func(goredis.Pipeliner) // adds its commands
	task *task                   // or its part of a script
	// Told to send these, itself the first, or nil when it has been sent and has its answers.
	turn chan []*call
}

const (
	lanes     = 2
	pipeBatch = 64 // callers whose commands are sent together
)

// task is what one caller wants of a script that does the tasks of many, see [Client.RunTask].
type task struct {
	script *goredis.Script
	key    string
	now    int64 // the server's time in µs
	args   []any

	// Once it was sent.
	answer Answer
	err    error
}

// answerOK is the answer of most tasks.
var answerOK = Answer{"ok"}

// tasksBatch is how many tasks a script does, for which the server does nothing else.
const tasksBatch = 32

// tasks adds the scripts that do the tasks of a batch, one for those that can be done together.
// take, once the answers are there, gives each its own.
func tasks(ctx context.Context, p goredis.Pipeliner, batch []*call) (take func()) {
	type shared struct {
		tasks  []*task
		now    int64
		args   []any
		answer *goredis.Cmd
	}
	var scripts []*shared
	for _, c := range batch {
		if c.task == nil {
			continue
		}
		i := slices.IndexFunc(scripts, func(x *shared) bool {
			return len(x.tasks) < tasksBatch && x.tasks[0].script == c.task.script && x.tasks[0].key == c.task.key
		})
		if i < 0 {
			i = len(scripts)
			scripts = append(scripts, &shared{args: make([]any, 1, 1+len(batch)*(1+len(c.task.args)))})
		}
		x := scripts[i]
		x.tasks, x.now = append(x.tasks, c.task), max(x.now, c.task.now)
		x.args = append(append(x.args, len(c.task.args)), c.task.args...)
	}
	for _, x := range scripts {
		x.args[0] = x.now
		x.answer = x.tasks[0].script.EvalSha(ctx, p, []string{x.tasks[0].key}, x.args...)
	}
	return func() {
		for _, x := range scripts {
			answers, err := x.answer.Slice()
			for i, t := range x.tasks {
				t.take(answers, i, err)
			}
		}
	}
}

// take is given what the script has answered to all its tasks, of which this is the i-th.
func (t *task) take(answers Answer, i int, err error) {
	t.answer, t.err = answers.List(i), err
	if i < len(answers) && answers[i] == int64(1) { // for short
		t.answer = answerOK
	}
	switch {
	case err != nil:
	case t.answer.Verdict() == "error":
		t.err = errors.New(t.answer.Text(1))
	case t.answer == nil:
		t.err = ErrAnswer
	}
}

// do sends the commands that add adds, and returns when they have their answers or errors. When ctx
// ends first, it returns that, and it is unknown whether they are carried out: then nothing of them
// may be looked at.
func (p *pipe) do(ctx context.Context, add func(goredis.Pipeliner)) error {
	return p.call(ctx, &call{add: add})
}

// share has a task done, behind the commands that add adds, if it is not nil, and returns as do
// does; the task has its own error.
func (p *pipe) share(ctx context.Context, add func(goredis.Pipeliner), t *task) error {
	return p.call(ctx, &call{add: add, task: t})
}

func (p *pipe) call(ctx context.Context, c *call) error {
	p.mu.Lock()
	if p.busy < lanes {
		p.busy++
		p.mu.Unlock()
		defer p.next()
		p.exec(ctx, []*call{c})
		return nil
	}
	c.turn = make(chan []*call, 1)
	p.queue = append(p.queue, c)
	p.mu.Unlock()
	select {
	case batch := <-c.turn:
		p.send(ctx, batch)
	case <-ctx.Done():
		if p.drop(c) {
			return ctx.Err()
		}
		select {
		case batch := <-c.turn: // a duty to the others
			p.send(ctx, batch)
		default: // somebody is sending it
			return ctx.Err()
		}
	}
	return nil
}

// exec sends what calls have to send in one round trip. Each has its error.
func (p *pipe) exec(ctx context.Context, batch []*call) {
	var take func()
	_, _ = p.client.Pipelined(ctx, func(pipeline goredis.Pipeliner) error {
		for _, c := range batch {
			if c.add != nil {
				c.add(pipeline)
			}
		}
		take = tasks(ctx, pipeline, batch)
		return nil
	})
	take()
}

// send sends a batch, which its first call does, and tells the others. There is nothing to send if
// somebody else did.
func (p *pipe) send(ctx context.Context, batch []*call) {
	if len(batch) == 0 {
		return
	}
	defer p.next()
	// The others do not care when the leader's context ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	p.exec(ctx, batch)
	for _, c := range batch[1:] {
		c.turn <- nil
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
	batch[0].turn <- batch
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
