package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Dead is what a store tells of requests that have failed: its dead letters. They are kept as long
// as any request that has ended, and found by route in the order of their ends, at a cost that does
// not grow with what else is kept. Batches are not among them, because they have no route.
type Dead interface {
	// DeadRoutes returns routes of which requests have failed, in the order of their names, those
	// that come after one ("": all), at most limit of them.
	DeadRoutes(ctx context.Context, after string, limit int) ([]DeadRoute, error)

	// DeadRequests returns a page of those of one route, of all owners. Those whose record is
	// damaged are left out. ErrCursor.
	DeadRequests(ctx context.Context, q DeadQuery) (Page, error)
}

// DeadRoute says what has failed on a route.
type DeadRoute struct {
	Route          string
	Requests       int64     // those that cannot be read included
	Oldest, Newest time.Time // ends
}

// DeadQuery selects requests that have failed.
type DeadQuery struct {
	Route  string
	Before time.Time // those that ended before; zero: all
	Oldest bool      // the oldest end first, else the newest
	Cursor string    // Next of the page before, of the same query; "" for the first
	Limit  int       // 1 or more
}

// dead returns what the store tells of requests that have failed.
func (s *Service) dead() (Dead, error) {
	dead, ok := s.store.(Dead)
	if !ok {
		return nil, errors.New("the store does not tell of requests that have failed")
	}
	return dead, nil
}

// DeadRoutes is [Dead.DeadRoutes]. It is for admins: it tells of everybody's requests, as all that
// follows does.
func (s *Service) DeadRoutes(ctx context.Context, after string, limit int) ([]DeadRoute, error) {
	dead, err := s.dead()
	if err != nil {
		return nil, err
	}
	return dead.DeadRoutes(ctx, after, limit)
}

// DeadRequests is [Dead.DeadRequests].
func (s *Service) DeadRequests(ctx context.Context, q DeadQuery) (Page, error) {
	dead, err := s.dead()
	if err != nil {
		return Page{}, err
	}
	return dead.DeadRequests(ctx, q)
}

// Redrive lets a request that has failed be worked on once more, see the change of that name, and
// hands it to its route. When it returns without error, it will be worked on, or end otherwise: if
// the queue fails now, it is queued when the unfinished requests are next gone through. A queue
// that is known to fail is ErrUnavailable, and nothing was changed. [*TransitionError] if it has
// not failed.
func (s *Service) Redrive(ctx context.Context, of Ref) (Request, error) {
	if err := s.ready(ctx); err != nil {
		return Request{}, err
	}
	r, err := s.store.Apply(ctx, of, Redrive{Timeout: s.Limits().Timeout})
	if err != nil {
		return Request{}, err
	}
	if !r.Parked {
		s.enqueueAgain(ctx, r)
	}
	return r, nil
}

// DeadDone is what was done of many requests that have failed.
type DeadDone struct {
	Done int  // requests
	More bool // more were selected than were looked at
}

// RedriveAll redrives what a query selects, the oldest end first, at most q.Limit of them. What
// fails again meanwhile is not selected if q.Before is a time that has passed. After an error, or
// the death of the process, some are redriven, and none is twice: the same call goes on with those
// that are left.
func (s *Service) RedriveAll(ctx context.Context, q DeadQuery) (DeadDone, error) {
	return s.eachDead(ctx, q, func(r *Request) (bool, error) {
		_, err := s.Redrive(ctx, r.Ref())
		_, changed := errors.AsType[*TransitionError](err)
		if changed || errors.Is(err, ErrNotFound) {
			return false, nil // somebody else was faster
		}
		return err == nil, err
	})
}

// PurgeAll forgets what a query selects, as [Service.Delete] does, the oldest end first, at most
// q.Limit of them. After an error some are forgotten.
func (s *Service) PurgeAll(ctx context.Context, q DeadQuery) (DeadDone, error) {
	return s.eachDead(ctx, q, func(r *Request) (bool, error) {
		if err := s.batches.forgets(ctx, *r); err != nil {
			return false, err
		}
		err := s.store.Delete(ctx, r.Ref())
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotEnded) { // or it was redriven
			return false, nil
		}
		return err == nil, err
	})
}

// deadPage is how many requests are read, and then dealt with many at once, before the next ones.
const deadPage = 128

// eachDead calls do, which reports whether it did something, with what a query selects.
func (s *Service) eachDead(ctx context.Context, q DeadQuery, do func(r *Request) (bool, error)) (DeadDone, error) {
	var all DeadDone
	dead, err := s.dead()
	if err != nil {
		return all, err
	}
	q.Oldest = true
	for left := q.Limit; left > 0; {
		q.Limit = min(left, deadPage)
		page, err := dead.DeadRequests(ctx, q)
		if err != nil {
			return all, err
		}
		var mu sync.Mutex
		if err := each(len(page.Requests), func(i int) error {
			did, err := do(&page.Requests[i])
			mu.Lock()
			defer mu.Unlock()
			if did {
				all.Done++
			}
			return err
		}); err != nil {
			return all, err
		}
		left -= len(page.Requests)
		q.Cursor = page.Next
		if all.More = page.Next != ""; !all.More {
			break
		}
	}
	return all, nil
}
