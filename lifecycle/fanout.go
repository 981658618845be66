package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// MemberError is why a batch cannot be submitted because of one of its members.
type MemberError struct {
	Member int
	Err    error // ErrIDTaken or ErrUnfitID
}

func (e *MemberError) Error() string {
	return fmt.Sprintf("request %d of the batch: %v", e.Member, e.Err)
}

// Unwrap returns the cause.
func (e *MemberError) Unwrap() error { return e.Err }

// Submit stores a batch for the caller, and its members, and hands those to their routes. What
// is promised of [Service.Submit] holds of all of them together: when it returns without error,
// every member is stored and queued; when it returns ErrUnavailable, nothing is left, unless the
// batch was submitted twice at a time or a member was begun already. Then the batch stays, and
// [Batches.Reconcile] goes on with it. A [*MemberError] with ErrIDTaken: the id of a member is
// another request's.
//
// The options of sub are those of the batch, with FailFast, Joined and Limit in its Batch, which
// may be nil; its time to run out, which follows from its members, is none of them. A member
// without an id gets one.
//
// then is what is submitted when all members have ended, in the batch's stead: it is refused with
// the batch, if at all, and nothing refuses it later. Its content, JSON or none, becomes a part of
// what it gets, see [Batches.submitNext]. nil: nothing follows. The id that it gets is in the
// batch. It and members of a batch that concludes are kept for long enough after their end that
// whoever concludes finds them, within the longest retention that there is.
func (b *Batches) Submit(ctx context.Context, caller Principal, sub Submission, members []Submission, then *Submission) (Created, error) {
	options := sub.Batch
	sub.Batch = &Batch{Total: len(members), Timed: true}
	if options != nil {
		sub.Batch.FailFast, sub.Batch.Joined, sub.Batch.Limit = options.FailFast, options.Joined, options.Limit
	}
	sub.Room.Routes = make(map[string]int64)
	for i := range members {
		m := &members[i]
		b.service.fill(m)
		m.Owner = caller.Subject
		if err := b.service.fit(m, m.ID != ""); err != nil {
			return Created{}, &MemberError{Member: i, Err: err}
		}
		sub.Room.Routes[m.Route]++
		sub.Batch.Named = sub.Batch.Named || m.ID != ""
		sub.Timeout = max(sub.Timeout, m.Timeout)
	}
	if then != nil {
		then = new(*then)
		then.ID, then.Owner = newID(), caller.Subject
		b.service.fill(then)
		if err := b.service.fit(then, false); err != nil {
			return Created{}, err
		}
		sub.Room.Routes[then.Route]++
		sub.Batch.Then = then.ID
	}
	if !sub.Batch.concludes() {
		sub.Batch.Limit = 0
	}
	b.keep(&sub, members, then)
	sub.Timeout += sub.Batch.margin()
	var err error
	if sub.Content, err = encodeMembers(members, then); err != nil {
		return Created{}, err
	}
	if sub.Batch.Named && sub.Key == "" { // with a key it may be another batch's repetition
		if err := b.service.ready(ctx); err != nil {
			return Created{}, err
		}
		if _, err := b.store.Get(ctx, Named(sub.ID)); errors.Is(err, ErrNotFound) {
			if err := b.unused(ctx, len(members), func(i int) string { return members[i].ID }); err != nil {
				return Created{}, err
			}
		}
	}
	created, err := b.service.Submit(ctx, caller, sub)
	if err != nil || created.Reply != nil {
		return created, err
	}
	r, err := b.store.Get(ctx, created.Request.Ref()) // what has happened since it was created
	if err == nil {
		created.Request = r
	}
	return created, nil
}

// keep lets members be there when their batch, whose Timeout is the longest of theirs, is
// concluded, and until then has run out of time itself. then stays for as long as anybody may try
// to submit it again, who would not find it otherwise.
func (b *Batches) keep(batch *Submission, members []Submission, then *Submission) {
	if !batch.Batch.concludes() {
		return
	}
	longest := b.service.Limits().MaxRetention
	needed := batch.Timeout + batchMargin
	if then != nil {
		needed += then.Timeout
		then.Retention = max(then.Retention, min(concludeMargin, longest))
	}
	for i := range members {
		members[i].Retention = max(members[i].Retention, min(needed, longest))
	}
}

// unused returns a MemberError if one of the ids names a request. "" is no id.
func (b *Batches) unused(ctx context.Context, n int, id func(i int) string) error {
	return each(n, func(i int) error {
		if id(i) == "" {
			return nil
		}
		_, err := b.store.Get(ctx, Named(id(i)))
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err == nil:
			return &MemberError{Member: i, Err: ErrIDTaken}
		}
		return err
	})
}

// fanOut stores and queues the members of a batch that is pending, those that are not yet, and then
// makes it processing. fresh: this call has stored the batch; if it cannot go on, it takes back the
// members that it has stored, and returns nil if that was too late for one. All that may be done
// again, by others, too: ids and fingerprints of members follow from the batch, so what is stored
// is found.
func (b *Batches) fanOut(ctx context.Context, batch Request, fresh bool) error {
	members, _, err := b.submissions(ctx, &batch)
	if err != nil {
		return err
	}
	if fresh && batch.Batch.Named {
		if err := b.unused(ctx, len(members), func(i int) string { return members[i].ID }); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var mine []Ref
	var ends []MemberEnd
	var until time.Time
	err = each(len(members), func(i int) error {
		created, err := b.service.place(ctx, members[i])
		mu.Lock()
		defer mu.Unlock()
		r := created.Request
		switch {
		case errors.Is(err, ErrIDTaken): // by a request that came in between
			ends = append(ends, MemberEnd{i, Failed})
			return nil
		case err != nil:
			return err
		case !created.Existed:
			mine = append(mine, r.Ref())
		case r.Status.Terminal():
			ends = append(ends, MemberEnd{i, r.Status})
			return nil
		}
		if r.ExpiresAt.After(until) {
			until = r.ExpiresAt
		}
		return nil
	})
	if err != nil {
		if fresh && !b.takeBack(ctx, mine) {
			return nil
		}
		return err
	}
	r, err := b.store.Apply(ctx, batch.Ref(), FanOut{Until: until})
	if err == nil && (len(ends) > 0 || r.Batch.Open() == 0) {
		r, err = b.store.Apply(ctx, batch.Ref(), Count{Ends: ends})
	}
	if err == nil && r.stops() && !r.Status.Terminal() {
		r, err = b.review(ctx, r, true)
	}
	if err == nil && r.toConclude() {
		b.completions.inBackground(func() { b.goOn(r.Ref()) })
	}
	// If it was refused, another one was faster.
	if _, refused := errors.AsType[*TransitionError](err); err != nil && !refused {
		b.service.log.LogAttrs(ctx, slog.LevelWarn, "batch is stored and queued, and could not be told so yet", slog.String("request", batch.ID), slog.Any("error", err))
	}
	return nil
}

// takeBack withdraws members that this process has stored, and reports false if that is too late
// for one of them.
func (b *Batches) takeBack(ctx context.Context, members []Ref) bool {
	var late atomic.Bool
	_ = each(len(members), func(i int) error {
		if !b.service.withdraw(ctx, members[i]) {
			late.Store(true)
		}
		return nil
	})
	return !late.Load()
}

// atOnce is how many steps are made at a time where many are to be made: so many share one commit,
// or one round trip.
const atOnce = 32

// each calls do for the numbers up to n, many at once, and waits for all calls. After an error no
// further ones are begun.
func each(n int, do func(i int) error) error {
	var next atomic.Int64
	var mu sync.Mutex
	var first error
	var calls sync.WaitGroup
	for range min(n, atOnce) {
		calls.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					next.Store(int64(n))
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	calls.Wait()
	return first
}
