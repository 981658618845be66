package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/backoff"
)

// Queue is where the service hands work over to the processors.
type Queue interface {
	// Ready returns an error if Enqueue is known to fail now, without asking a
	// server.
	Ready(ctx context.Context) error

	// Enqueue returns nil once the work is sure to reach a processor of its
	// route, not before r.NotBefore. Handing the same work over twice is
	// harmless, because the second start is refused, see [Start].
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
	// Delay before the second attempt, doubled for each further one; 1 second.
	RetryBase time.Duration
	RetryMax  time.Duration // the longest of these, unless the first is longer; 5 minutes
	Quota     Quota         // of each owner; none
	Waiting   int64         // requests that may wait on a route; any number
	// Routes are how many requests of a route may be worked on at the same time, over all nodes;
	// any number. PerKey are how many with the same key, unless a request says less; 1.
	Routes, PerKey map[string]int
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

// Service is the lifecycle as the HTTP API and the processors use it: it adds ownership, defaults
// and the hand-over of work to the store's atomic steps. It keeps no state of its own that would
// matter, so any number may run on one store. Close it before the store.
type Service struct {
	store    Store // told to the meter, if there is one
	queue    Queue
	limits   atomic.Pointer[Limits]
	log      *slog.Logger
	batches  *Batches
	creating ownerLimit
	freed    freed
	paces    knownPaces

	notWithdrawn, notQueued burst
}

// Options of a [Service]. The zero value works.
type Options struct {
	Limits Limits
	Logger *slog.Logger // default: discard
	// Now is the time on the store's clock, for estimates. Default time.Now.
	Now func() time.Time
	// Meter is told of what is handed to the queue. The store tells of steps of requests, and of
	// calls to it. Nil: nobody is told.
	Meter QueueMeter
}

// New returns a service over a store and a queue.
func New(store Store, queue Queue, o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Service{
		store: store, queue: queue, log: o.Logger,
		notWithdrawn: burst{level: slog.LevelError, text: "request could not be withdrawn"},
		notQueued:    burst{level: slog.LevelWarn, text: "request that waits again could not be queued yet"},
	}
	if o.Meter != nil {
		s.queue = meteredQueue{queue, o.Meter}
	}
	s.SetLimits(o.Limits)
	s.batches, s.paces.now = newBatches(s), o.Now
	s.paces.store, _ = store.(Paces)
	if slots, ok := store.(Slots); ok {
		s.freed.stop = slots.OnSlot(func(of Ref) { s.freed.add(s, of) })
	}
	return s
}

// Batches returns what submits many requests at once.
func (s *Service) Batches() *Batches { return s.batches }

// Limits returns the limits in force.
func (s *Service) Limits() Limits { return *s.limits.Load() }

// SetLimits has others in force from now on. What was submitted before keeps what it was given.
func (s *Service) SetLimits(l Limits) { s.limits.Store(new(l.WithDefaults())) }

// SaveReply remembers how the caller's first call with a key was answered.
func (s *Service) SaveReply(ctx context.Context, caller Principal, of Ref, key string, r Reply) error {
	return s.store.SaveReply(ctx, of, caller.Subject, key, r)
}

// Get returns one of the caller's requests.
func (s *Service) Get(ctx context.Context, caller Principal, of Ref) (Request, error) {
	r, err := s.store.Get(ctx, of)
	if damage, ok := errors.AsType[*DamageError](err); ok && damage.Request != nil && (!of.Of(damage.Request) || !caller.sees(damage.Request)) {
		return Request{}, ErrNotFound
	}
	if err != nil {
		return Request{}, err
	}
	if !caller.sees(&r) {
		return Request{}, ErrNotFound
	}
	s.estimate(ctx, &r)
	return r, nil
}

// sees reports whether a request is one of the caller's.
func (p Principal) sees(r *Request) bool {
	return (r.Owner == p.Subject || p.Is(RoleAdmin)) && (p.Request.ID == "" || p.Request.Of(r))
}

// Result returns the bytes that came out of one of the caller's requests,
// together with the request as it stands. ErrNotFound with a non-zero Request
// means that the request is there but its result is not.
func (s *Service) Result(ctx context.Context, caller Principal, of Ref) (Request, Content, error) {
	r, err := s.Get(ctx, caller, of)
	if err != nil {
		return Request{}, Content{}, err
	}
	if r.Result == nil {
		return r, Content{}, ErrNotFound
	}
	content, err := s.store.Content(ctx, r.Ref(), Output)
	return r, content, err
}

// Submitted returns what was submitted with one of the caller's requests; of a batch no content,
// which its requests have. room, which may be nil, is asked before so many bytes are read; its
// error is returned.
func (s *Service) Submitted(ctx context.Context, caller Principal, of Ref, room func(size int64) error) (Request, Content, error) {
	r, err := s.Get(ctx, caller, of)
	if err != nil || r.Batch != nil {
		return r, Content{}, err
	}
	if room != nil {
		if err := room(r.Input.Size); err != nil {
			return Request{}, Content{}, err
		}
	}
	content, err := s.store.Content(ctx, r.Ref(), Input)
	return r, content, err
}

// ReadContent fills p with bytes of what was submitted with a request or came out of it, from an
// offset on, and returns how many that were: fewer than len(p) only at the end. Who asks may see
// it, as [Service.Get], [Service.Start] or [Service.Running] have found. ErrNotFound if it is not
// there any more.
func (s *Service) ReadContent(ctx context.Context, of Ref, part Part, p []byte, offset int64) (int, error) {
	if pieces, ok := s.store.(Pieces); ok {
		return pieces.ReadContent(ctx, of, part, p, offset)
	}
	content, err := s.store.Content(ctx, of, part)
	if err != nil {
		return 0, err
	}
	return copy(p, content.Data[min(offset, int64(len(content.Data))):]), nil
}

// List returns a page of the caller's requests, newest first.
func (s *Service) List(ctx context.Context, caller Principal, q Query) (Page, error) {
	q.Owner, q.All = caller.Subject, false
	return s.ListOf(ctx, q)
}

// ListOf returns a page of the requests of any owner, or of all. It is for admins.
func (s *Service) ListOf(ctx context.Context, q Query) (Page, error) {
	page, err := s.store.List(ctx, q)
	for i := range page.Requests {
		s.estimate(ctx, &page.Requests[i])
	}
	return page, err
}

// Cancel asks one of the caller's requests to end, see the change of that name; with a batch all
// members that have not ended.
func (s *Service) Cancel(ctx context.Context, caller Principal, of Ref) (Request, error) {
	r, err := s.Get(ctx, caller, of)
	if err != nil {
		return Request{}, err
	}
	r, err = s.store.Apply(ctx, r.Ref(), Cancel{})
	switch {
	case err != nil:
	case r.Batch != nil && !r.Status.Terminal():
		return s.batches.cancel(ctx, r), nil
	case r.Status.Terminal():
		s.queue.Discard(r)
		s.tell(r)
	}
	return r, err
}

// tell tells who wants to know it that a request has ended, or when it will.
func (s *Service) tell(r Request) { s.batches.changed(r) }

// Delete forgets one of the caller's requests that has ended. If its record is damaged, nobody
// knows whose it was and whether it has ended: then only an admin may.
func (s *Service) Delete(ctx context.Context, caller Principal, of Ref) error {
	r, err := s.Get(ctx, caller, of)
	damage, damaged := errors.AsType[*DamageError](err)
	if damaged && damage.Request != nil { // it is the caller's, or Get would not have found it
		if r = *damage.Request; !r.Status.Terminal() {
			return ErrNotEnded
		}
		if err := s.batches.forgets(ctx, r); err != nil {
			return err
		}
	}
	if damaged && (damage.Request != nil || caller.Is(RoleAdmin)) {
		return s.deleteDamaged(ctx, caller, of.ID)
	}
	if err != nil {
		return err
	}
	if r.Status.Terminal() {
		if err := s.batches.forgets(ctx, r); err != nil {
			return err
		}
	}
	return s.store.Delete(ctx, r.Ref())
}

// deleteDamaged forgets a request that is damaged. If it was a member of a batch, whoever
// reconciles that finds it lost.
func (s *Service) deleteDamaged(ctx context.Context, caller Principal, id string) error {
	r, err := s.store.DeleteDamaged(ctx, id)
	if err != nil {
		return err
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "damaged request was deleted",
		slog.String("request", id), slog.String("owner", r.Owner), slog.String("by", caller.Subject))
	s.queue.Discard(r)
	return nil
}

// Follow returns the channel that a caller may follow, of a request that of the life that it has
// now. A request that is unknown or somebody else's is ErrNotFound.
func (s *Service) Follow(ctx context.Context, caller Principal, c Channel) (Channel, error) {
	switch {
	case c.Kind == RequestChannel:
		r, err := s.Get(ctx, caller, c.Ref())
		return r.Channel(), err
	case caller.Request.ID != "": // which is no feed
	case c.Kind == TopicChannel && c.Owner == caller.Subject:
		return c, nil
	case c.Kind == OwnerChannel && (c.Name == caller.Subject || caller.Is(RoleAdmin)):
		return c, nil
	}
	return Channel{}, ErrNotFound
}

// Start begins an attempt for a processor, or goes on with one that has asked something, and
// returns what it works on, with the answers that there are in [Request.Given].
// A [*TransitionError] means that this work needs
// nobody any more, or, with ReasonAlive, that somebody is at it.
func (s *Service) Start(ctx context.Context, of Ref, c Start) (Request, Content, error) {
	r, content, err := s.store.Begin(ctx, of, c)
	if err != nil && r.ID == "" {
		return Request{}, Content{}, unworkable(err)
	}
	s.queue.Discard(r)
	if err == nil && r.Status == Processing {
		err = s.give(ctx, &r)
	}
	if damage, ok := errors.AsType[*DamageError](err); ok {
		return r, Content{}, s.giveUp(ctx, r, damage)
	}
	if err != nil {
		return r, Content{}, fmt.Errorf("content of request %s: %w", r.ID, err)
	}
	if r.Status != Processing { // a dead attempt too many, or canceled meanwhile
		s.tell(r)
		return r, Content{}, refuse(&r, c, 0)
	}
	return r, content, nil
}

// unworkable lets a queue drop work whose request is damaged: handed out again it would only be in
// the way of the others.
func unworkable(err error) error {
	if _, ok := errors.AsType[*DamageError](err); ok {
		return fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	return err
}

// CodeDamaged is the code of the failure of a request whose content was damaged where it was
// stored.
const CodeDamaged = "stored-data-damaged"

// giveUp ends a request whose content nobody can read any more.
func (s *Service) giveUp(ctx context.Context, r Request, damage *DamageError) error {
	if _, err := s.Report(ctx, r.Ref(), Fail{Attempt: r.Attempt, Failure: Failure{
		Code: CodeDamaged, Message: "What was submitted was damaged where it was stored, so nobody can work on it. Submit it again.",
	}}); err != nil {
		return err // it is tried again
	}
	return unworkable(damage)
}

// Running returns what an attempt works on while it is the one that runs, as its start did; nothing
// is changed. The [*TransitionError] of any other attempt is that of a start. room, which may be
// nil, is asked before so many bytes are read; its error is returned.
func (s *Service) Running(ctx context.Context, of Ref, attempt int, room func(size int64) error) (Request, Content, error) {
	r, err := s.store.Get(ctx, of)
	if err != nil {
		return Request{}, Content{}, err
	}
	if err := fence(&r, Start{}, attempt); err != nil {
		return Request{}, Content{}, err
	}
	if room != nil {
		if err := room(r.Input.Size); err != nil {
			return Request{}, Content{}, err
		}
	}
	content, err := s.store.Content(ctx, r.Ref(), Input)
	if err == nil {
		err = s.give(ctx, &r)
	}
	return r, content, err
}

// Report makes a change that a processor reports: [Progress], [Succeed], [Fail], [Ask]
// or [Release]. Work that goes back to pending is handed to the queue again.
// A Fail that retries without a delay of its own gets the next backoff, from the delay that the
// request asked for, else from the default.
//
// A report of which the answer was lost may be made again; as long as no further attempt has ended,
// it changes nothing and is answered with the request as it is now.
//
// An Ask that cannot be asked is refused with an error that wraps ErrQuestion. Of a question that
// was answered the [*TransitionError] has ReasonAnswered: the answer was given with the start. One
// that is asked without a timeout waits as long as a request may take by default.
func (s *Service) Report(ctx context.Context, of Ref, c Change) (Request, error) {
	if f, ok := c.(Fail); ok && f.Retry && f.Delay <= 0 {
		r, err := s.store.Get(ctx, of)
		if err != nil {
			return Request{}, err
		}
		l := s.limits.Load()
		base := cmp.Or(r.RetryDelay, l.RetryBase)
		f.Delay = backoff.Exponential(r.Failures+1, base, max(base, l.RetryMax))
		c = f
	}
	if p, ok := c.(Progress); ok && p.Extend > s.limits.Load().MaxTimeout {
		p.Extend = s.limits.Load().MaxTimeout
		c = p
	}
	if a, ok := c.(Ask); ok {
		return s.ask(ctx, of, a)
	}
	r, err := s.store.Apply(ctx, of, c)
	if err != nil || r.Status != Pending {
		if p, ok := c.(Progress); err == nil && (r.Status.Terminal() || ok && p.Extend > 0) {
			s.tell(r)
		}
		return r, err
	}
	if r.Parked {
		return r, nil
	}
	s.enqueueAgain(ctx, r)
	return r, nil
}

// enqueueAgain hands a request over that waits again for a processor.
func (s *Service) enqueueAgain(ctx context.Context, r Request) {
	// Whoever reported may give up waiting now, but the request waits for its message.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTime)
	defer cancel()
	if err := s.queue.Enqueue(ctx, r); err != nil {
		// The request is stored as pending, so the work is not lost: it is
		// queued again when the unfinished requests are next gone through.
		s.notQueued.tell(s.log, r.ID, err)
	}
}

// enqueueTime bounds the hand-over of work that waits again.
const enqueueTime = 10 * time.Second

// Swept takes note of requests that a store's Sweep has ended, of those that go on with the default
// of their question, and of members of batches that it has forgotten. It does not wait.
func (s *Service) Swept(all []Request) {
	for _, r := range all {
		if r.Status == Pending {
			s.batches.completions.inBackground(func() { s.enqueueAgain(context.Background(), r) })
			continue
		}
		s.queue.Discard(r)
		s.tell(r)
		if r.Batch != nil && r.Status == Expired {
			s.batches.expired(r)
		}
	}
}

// Close returns when what calls have left to be done is done: batches know of the ends of their
// members. Ends that are reported later are not told any more.
func (s *Service) Close() {
	if s.freed.stop != nil {
		s.freed.stop()
	}
	s.batches.completions.close()
	s.notWithdrawn.tellMore(s.log, true)
	s.notQueued.tellMore(s.log, true)
}
