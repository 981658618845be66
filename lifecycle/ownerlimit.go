package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How many submissions of one owner are being stored at a time. A store makes steps together that
// come together, and all of them wait for the last: what one owner floods it with would be in each
// step of everybody else's. Alone, an owner may have as many as make a step of a slow disk worth
// its while.
const (
	mostAlone        = 128
	mostBesideOthers = 16
	// company is how long an owner counts as beside others after one of them came.
	company = time.Second
)

// ownerLimit bounds how many of each owner are inside; who comes beyond that waits outside, in
// order of arrival. It may be used by many goroutines, and keeps nothing of owners who have nobody
// there.
type ownerLimit struct {
	mu     sync.Mutex
	owners map[string]*group
	last   string    // owner who came last
	came   time.Time // when that was
	mixed  time.Time // when one came last that was another owner's than the one before
}

// group are those of one owner.
type group struct {
	inside  int
	outside []chan struct{} // closed when one is admitted
}

// enter returns when there is room; ErrUnavailable when ctx ends before.
func (c *ownerLimit) enter(ctx context.Context, owner string) error {
	c.mu.Lock()
	now := time.Now()
	if owner != c.last && now.Sub(c.came) < company {
		c.mixed = now
	}
	c.last, c.came = owner, now
	g := c.owners[owner]
	if g == nil {
		if c.owners == nil {
			c.owners = make(map[string]*group)
		}
		g = new(group)
		c.owners[owner] = g
	}
	if len(g.outside) == 0 && g.inside < c.most(now) {
		g.inside++
		c.mu.Unlock()
		return nil
	}
	admitted := make(chan struct{})
	g.outside = append(g.outside, admitted)
	c.mu.Unlock()
	select {
	case <-admitted:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range g.outside {
		if g.outside[i] == admitted {
			g.outside = append(g.outside[:i], g.outside[i+1:]...)
			return fmt.Errorf("%w: there is too much to store at once: %w", ErrUnavailable, ctx.Err())
		}
	}
	return nil // it was admitted meanwhile
}

// leave makes room for the next ones of an owner, or more of them, or fewer, as it is alone or not.
func (c *ownerLimit) leave(owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.owners[owner]
	g.inside--
	for most := c.most(time.Now()); len(g.outside) > 0 && g.inside < most; g.inside++ {
		close(g.outside[0])
		g.outside = g.outside[1:]
	}
	if g.inside == 0 && len(g.outside) == 0 {
		delete(c.owners, owner)
	}
}

func (c *ownerLimit) most(now time.Time) int {
	if now.Sub(c.mixed) < company {
		return mostBesideOthers
	}
	return mostAlone
}
