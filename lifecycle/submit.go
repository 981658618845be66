package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Submit stores a request for the caller and hands it to its route. When it returns without error,
// the work will be done or end otherwise; when it returns ErrUnavailable, nothing of it is left,
// unless it was submitted twice at a time. Other errors are those of [Store.Create]. Zero options
// of sub take the defaults; its ID must be set.
func (s *Service) Submit(ctx context.Context, caller Principal, sub Submission) (Created, error) {
	l := s.Limits()
	sub.Owner, sub.Quota = caller.Subject, l.Quota
	sub.Room.Most, sub.CountWaiting = l.Waiting, l.Quota.Waiting > 0
	s.fill(&sub)
	if err := s.fit(&sub, sub.Life != ""); err != nil {
		return Created{}, err
	}
	if err := s.ready(ctx); err != nil { // so that nothing needs to be taken back
		return Created{}, err
	}
	created, err := s.place(ctx, sub)
	err = alone(&sub, err)
	if quota, ok := errors.AsType[*QuotaError](err); ok {
		quota.Owner = sub.Owner
	}
	if err == nil {
		s.estimate(ctx, &created.Request)
	}
	return created, err
}

// fill gives options that were left out their defaults.
func (s *Service) fill(sub *Submission) {
	l := s.Limits()
	if sub.Timeout <= 0 {
		sub.Timeout = l.Timeout
	}
	if sub.Retention <= 0 {
		sub.Retention = l.Retention
	}
	if sub.MaxAttempts <= 0 {
		sub.MaxAttempts = l.Attempts
	}
	c := &sub.Concurrency
	c.Route = l.Routes[sub.Route]
	if c.Key != "" && c.Limit <= 0 {
		c.Limit = cmp.Or(l.PerKey[sub.Route], 1)
	}
}

func (s *Service) ready(ctx context.Context) error {
	if err := s.queue.Ready(ctx); err != nil {
		return fmt.Errorf("%w: queue: %w", ErrUnavailable, err)
	}
	return nil
}

// place stores what was submitted and hands it over, or takes up what is there of it. All options
// are set.
func (s *Service) place(ctx context.Context, sub Submission) (Created, error) {
	for range 3 { // what a submission finds may be gone before it is taken up
		created, err := s.create(ctx, sub)
		r := created.Request
		switch {
		case err != nil:
			return created, err
		case !created.Existed && r.Parked:
			return created, nil
		case !created.Existed:
			if err := s.hand(ctx, r, true); err != nil && s.withdraw(ctx, r.Ref()) {
				return Created{}, err
			}
			return created, nil
		case r.withdrawn():
			// An earlier attempt to submit it left this behind.
			err = s.store.Delete(ctx, r.Ref())
		case r.Status != Pending || r.Attempt > 0 || r.Repeated || created.Reply != nil:
			return created, nil
		default:
			if _, err = s.store.Apply(ctx, r.Ref(), Repeat{}); err == nil {
				// It stays, even if nobody can queue it now.
				if err := s.hand(ctx, r, false); err != nil {
					return Created{}, err
				}
				return created, nil
			}
		}
		if _, changed := errors.AsType[*TransitionError](err); err != nil && !changed && !errors.Is(err, ErrNotFound) {
			return Created{}, err
		}
	}
	return Created{}, fmt.Errorf("%w: the request keeps changing", ErrUnavailable)
}

// create stores what was submitted, when its owner's limit lets it.
func (s *Service) create(ctx context.Context, sub Submission) (Created, error) {
	if err := s.creating.enter(ctx, sub.Owner); err != nil {
		return Created{}, err
	}
	defer s.creating.leave(sub.Owner)
	return s.store.Create(ctx, sub)
}

// hand sees to it that a request which is stored is worked on: it is queued, or, if it is a batch,
// its members are stored and queued. fresh: this call has stored it.
func (s *Service) hand(ctx context.Context, r Request, fresh bool) error {
	if r.Batch != nil {
		return s.batches.fanOut(ctx, r, fresh)
	}
	if err := s.queue.Enqueue(ctx, r); err != nil {
		return fmt.Errorf("%w: queue: %w", ErrUnavailable, err)
	}
	return nil
}

// withdraw takes back a request that could not be queued, and returns false if that is too late: it
// was queued, only the queue's word was lost, and a processor has begun; or it was submitted again
// meanwhile, and that may have been answered. Followers of a feed may have seen that it was
// accepted, so it ends with an event before it is forgotten. If the store fails as well, at the
// first step, it stays pending and is queued later, which a repeated submission with its id finds;
// at the second, it is canceled, and a repeated submission replaces it.
func (s *Service) withdraw(ctx context.Context, of Ref) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := s.store.Apply(ctx, of, Cancel{Withdrawn: true})
	if _, late := errors.AsType[*TransitionError](err); late {
		return false
	}
	if err == nil {
		err = s.store.Delete(ctx, of)
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotEnded) {
		// ErrNotEnded: it was submitted again since.
		s.notWithdrawn.tell(s.log, of.ID, err)
	}
	return true
}
