package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Queue is where the service hands work over to the processors.
type Queue interface {
	// Ready returns an error if Enqueue is known to fail now, without asking a
	// server.
	Ready(ctx context.Context) error

	// Enqueue returns nil once the work is sure to reach a processor of its
	// route, not before r.NotBefore. Handing the same work over twice is
	// harmless, because the second start is refused.
	Enqueue(ctx context.Context, r Request) error

	// Discard tells that a request needs no processor any more. It is a hint
	// that lets a queue in memory shrink; a queue may ignore it.
	Discard(r Request)
}

// Limits bound what a submission may ask for. Zero fields take the defaults.
type Limits struct {
	Timeout      time.Duration // default time to run out; 1 hour
	MaxTimeout   time.Duration // 24 hours
	Retention    time.Duration // default time kept after the end; 24 hours
	MaxRetention time.Duration // 7 days
	MaxDelay     time.Duration // 24 hours
	Attempts     int           // default number of attempts; 3
	MaxAttempts  int           // 20
	RetryBase    time.Duration // delay before the second attempt, doubled for each further one; 1 second
	RetryMax     time.Duration // 5 minutes
}

// WithDefaults returns l with every zero field replaced by its default.
func (l Limits) WithDefaults() Limits {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&l.MaxTimeout, 24*time.Hour)
	set(&l.Timeout, min(time.Hour, l.MaxTimeout))
	set(&l.MaxRetention, 7*24*time.Hour)
	set(&l.Retention, min(24*time.Hour, l.MaxRetention))
	set(&l.MaxDelay, 24*time.Hour)
	set(&l.RetryBase, time.Second)
	set(&l.RetryMax, 5*time.Minute)
	if l.MaxAttempts <= 0 {
		l.MaxAttempts = 20
	}
	if l.Attempts <= 0 {
		l.Attempts = min(3, l.MaxAttempts)
	}
	return l
}

// Service is the lifecycle as the HTTP API and the processors use it: it adds
// ownership, defaults and the hand-over of work to the store's atomic steps. It
// keeps no state of its own, so any number may run on one store.
type Service struct {
	store  Store
	queue  Queue
	limits Limits
	log    *slog.Logger
}

// Options of a [Service]. The zero value works.
type Options struct {
	Limits Limits
	Logger *slog.Logger // default: discard
}

// New returns a service over a store and a queue.
func New(store Store, queue Queue, o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{store: store, queue: queue, limits: o.Limits.WithDefaults(), log: o.Logger}
}

// Limits returns the limits in force.
func (s *Service) Limits() Limits { return s.limits }

// Submit stores a request for the caller and hands it to its route. When it
// returns without error, the work will be done or end otherwise; when it returns
// ErrUnavailable, nothing of it is left, unless it was submitted twice at a time. Other errors are those of
// [Store.Create]. Zero options of sub take the defaults; its ID must be set.
func (s *Service) Submit(ctx context.Context, caller Principal, sub Submission) (Created, error) {
	sub.Owner = caller.Subject
	if sub.Timeout <= 0 {
		sub.Timeout = s.limits.Timeout
	}
	if sub.Retention <= 0 {
		sub.Retention = s.limits.Retention
	}
	if sub.MaxAttempts <= 0 {
		sub.MaxAttempts = s.limits.Attempts
	}
	if err := s.queue.Ready(ctx); err != nil { // so that nothing needs to be taken back
		return Created{}, fmt.Errorf("%w: queue: %w", ErrUnavailable, err)
	}
	for range 3 { // what a submission finds may be gone before it is taken up
		created, err := s.store.Create(ctx, sub)
		r := created.Request
		switch {
		case err != nil:
			return created, err
		case !created.Existed:
			if err := s.queue.Enqueue(ctx, r); err != nil && s.withdraw(ctx, r.ID) {
				return Created{}, fmt.Errorf("%w: queue: %w", ErrUnavailable, err)
			}
			return created, nil
		case r.withdrawn():
			// An earlier attempt to submit it left this behind.
			err = s.store.Delete(ctx, r.ID)
		case r.Status != Pending || r.Attempt > 0 || r.Repeated || created.Reply != nil:
			return created, nil
		default:
			if _, err = s.store.Apply(ctx, r.ID, Repeat{}); err == nil {
				// It stays, even if nobody can queue it now.
				if err := s.queue.Enqueue(ctx, r); err != nil {
					return Created{}, fmt.Errorf("%w: queue: %w", ErrUnavailable, err)
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

// withdraw takes back a request that could not be queued, and returns false if that
// is too late: it was queued, only the queue's word was lost, and a processor has
// begun; or it was submitted again meanwhile, and that may have been answered. Followers of a feed may
// have seen that it was accepted, so it ends with an event before it is forgotten.
// If the store fails as well, at the first step, it stays pending and is queued
// later, which a repeated submission with its id finds; at the second, it is
// canceled, and a repeated submission replaces it.
func (s *Service) withdraw(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := s.store.Apply(ctx, id, Cancel{Withdrawn: true})
	if _, late := errors.AsType[*TransitionError](err); late {
		return false
	}
	if err == nil {
		err = s.store.Delete(ctx, id)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.log.LogAttrs(ctx, slog.LevelError, "request could not be withdrawn", slog.String("request", id), slog.Any("error", err))
	}
	return true
}

// SaveReply remembers how the caller's first call with a key was answered.
func (s *Service) SaveReply(ctx context.Context, caller Principal, key string, r Reply) error {
	return s.store.SaveReply(ctx, caller.Subject, key, r)
}

// Get returns one of the caller's requests.
func (s *Service) Get(ctx context.Context, caller Principal, id string) (Request, error) {
	if caller.Request != "" && caller.Request != id {
		return Request{}, ErrNotFound
	}
	r, err := s.store.Get(ctx, id)
	if err != nil {
		return Request{}, err
	}
	if r.Owner != caller.Subject && !caller.Is(RoleAdmin) {
		return Request{}, ErrNotFound
	}
	return r, nil
}

// Result returns the bytes that came out of one of the caller's requests,
// together with the request as it stands. ErrNotFound with a non-zero Request
// means that the request is there but its result is not.
func (s *Service) Result(ctx context.Context, caller Principal, id string) (Request, Content, error) {
	r, err := s.Get(ctx, caller, id)
	if err != nil {
		return Request{}, Content{}, err
	}
	if r.Result == nil {
		return r, Content{}, ErrNotFound
	}
	content, err := s.store.Content(ctx, id, Output)
	return r, content, err
}

// List returns a page of the caller's requests, newest first.
func (s *Service) List(ctx context.Context, caller Principal, q Query) (Page, error) {
	q.Owner = caller.Subject
	return s.store.List(ctx, q)
}

// Cancel asks one of the caller's requests to end, see the change of that name.
func (s *Service) Cancel(ctx context.Context, caller Principal, id string) (Request, error) {
	if _, err := s.Get(ctx, caller, id); err != nil {
		return Request{}, err
	}
	r, err := s.store.Apply(ctx, id, Cancel{})
	if err == nil && r.Status.Terminal() {
		s.queue.Discard(r)
	}
	return r, err
}

// Delete forgets one of the caller's requests that has ended.
func (s *Service) Delete(ctx context.Context, caller Principal, id string) error {
	if _, err := s.Get(ctx, caller, id); err != nil {
		return err
	}
	return s.store.Delete(ctx, id)
}

// MayRead reports, as an error, whether the caller may follow a channel.
// A request that is unknown or somebody else's is ErrNotFound.
func (s *Service) MayRead(ctx context.Context, caller Principal, c Channel) error {
	switch {
	case c.Kind == RequestChannel:
		_, err := s.Get(ctx, caller, c.Name)
		return err
	case caller.Request != "": // which is no feed
	case c.Kind == TopicChannel && c.Owner == caller.Subject:
		return nil
	case c.Kind == OwnerChannel && (c.Name == caller.Subject || caller.Is(RoleAdmin)):
		return nil
	}
	return ErrNotFound
}

// Start begins an attempt for a processor and returns what it works on.
// redelivered: see [Start]. A [*TransitionError] means that this work needs
// nobody any more.
func (s *Service) Start(ctx context.Context, id string, redelivered bool) (Request, Content, error) {
	r, content, err := s.store.Begin(ctx, id, Start{Redelivered: redelivered})
	if err != nil && r.ID == "" {
		return Request{}, Content{}, err
	}
	s.queue.Discard(r)
	if err != nil {
		return r, Content{}, fmt.Errorf("content of request %s: %w", id, err)
	}
	if r.Status != Processing { // a dead attempt too many, or canceled meanwhile
		return r, Content{}, &TransitionError{ID: id, Change: "start", From: r.Status, Reason: ReasonEnded, Current: r.Attempt}
	}
	return r, content, nil
}

// Running returns what an attempt works on while it is the one that runs, as its start did; nothing is changed. The
// [*TransitionError] of any other attempt is that of a start.
func (s *Service) Running(ctx context.Context, id string, attempt int) (Request, Content, error) {
	r, err := s.store.Get(ctx, id)
	if err != nil {
		return Request{}, Content{}, err
	}
	if err := fence(&r, Start{}, attempt); err != nil {
		return Request{}, Content{}, err
	}
	content, err := s.store.Content(ctx, id, Input)
	return r, content, err
}

// Report makes a change that a processor reports: [Progress], [Succeed], [Fail]
// or [Release]. Work that goes back to pending is handed to the queue again.
// A Fail that retries without a delay of its own gets the next backoff.
func (s *Service) Report(ctx context.Context, id string, c Change) (Request, error) {
	if f, ok := c.(Fail); ok && f.Retry && f.Delay <= 0 {
		r, err := s.store.Get(ctx, id)
		if err != nil {
			return Request{}, err
		}
		f.Delay = s.backoff(r.Failures + 1)
		c = f
	}
	if p, ok := c.(Progress); ok && p.Extend > s.limits.MaxTimeout {
		p.Extend = s.limits.MaxTimeout
		c = p
	}
	r, err := s.store.Apply(ctx, id, c)
	if err != nil || r.Status != Pending {
		return r, err
	}
	if err := s.queue.Enqueue(ctx, r); err != nil {
		// The request is stored as pending, so the work is not lost: it is
		// queued again when the unfinished requests are next gone through.
		s.log.LogAttrs(ctx, slog.LevelWarn, "retry could not be queued yet", slog.String("request", id), slog.Any("error", err))
	}
	return r, nil
}

// backoff returns the delay after the n-th failure: the base doubled each time up
// to the maximum, with a quarter of jitter either way, so that what failed
// together does not come back together.
func (s *Service) backoff(failures int) time.Duration {
	delay := s.limits.RetryBase
	for range failures - 1 {
		if delay >= s.limits.RetryMax {
			break
		}
		delay *= 2
	}
	delay = min(delay, s.limits.RetryMax)
	return time.Duration(float64(delay) * (0.75 + rand.Float64()/2))
}
