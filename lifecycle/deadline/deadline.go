// Package deadline bounds calls of which thousands begin every second: those that begin at about
// the same time share a context, so that none of them has to start a timer and to stop it again.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Limit is how long calls may take. The zero value is of no use, see [New]. It may be used by many
// goroutines.
type Limit struct {
	time time.Duration
	from shared
}

// New returns a limit of a time.
func New(limit time.Duration) *Limit { return &Limit{time: limit} }

// Context returns a context that ends when the limit is over, or a little later, 1/64 of it at
// most. Others have it too, so it cannot be canceled, and nothing that lives longer than a call may
// be derived from it.
func (l *Limit) Context() context.Context {
	return l.from.within(context.Background(), l.time)
}

// Within returns ctx with a time limit, with [context.DeadlineExceeded] as usual, and what frees
// it, as [context.WithTimeout] does. It is shared too if ctx is: then it ends up to 1/64 later.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if c, ok := ctx.(*sharedContext); ok {
		return c.derived.within(c, limit), func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// sharedContext is what many calls have.
type sharedContext struct {
	context.Context
	derived shared
}

// shared holds the newest context of those with one limit.
type shared struct {
	mu     sync.Mutex
	limit  time.Duration
	newest *sharedContext
	until  time.Time // as long as it is given out
}

// within returns a context that ends after limit, or a little later. Whoever asks for another limit
// each time gets his own each time.
func (s *shared) within(parent context.Context, limit time.Duration) context.Context {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || s.limit != limit || !now.Before(s.until) || s.newest.Err() != nil {
		slack := limit / 64
		ctx, cancel := context.WithDeadline(parent, now.Add(limit+slack))
		context.AfterFunc(ctx, cancel) // which is when nobody needs it any more
		s.newest, s.limit, s.until = &sharedContext{Context: ctx}, limit, now.Add(slack)
	}
	return s.newest
}
