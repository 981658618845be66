package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hark-push/hark/backoff"
)

// Reconcile goes on with a batch where others have left off, because their process died or the
// store was away: it stores and queues members that are missing, counts ends that nobody has told
// of, cancels what is to be canceled, and concludes what is left to be. It reads every member that
// is not counted.
func (b *Batches) Reconcile(ctx context.Context, batch Request) error {
	if batch.Status == Pending {
		// Whoever has stored it may still be at it, and must not take it back any more.
		if _, err := b.store.Apply(ctx, batch.Ref(), Repeat{}); err != nil {
			return err
		}
		return b.fanOut(ctx, batch, false)
	}
	canceling := batch.stops()
	batch, err := b.review(ctx, batch, canceling)
	if err != nil {
		return err
	}
	return b.advance(ctx, batch, !canceling)
}

// review counts the members of a batch that have ended and are not counted, and lets the batch run
// out of time after the others. cancel: those are canceled. A member that is not there, though all
// were stored, was forgotten, or lost; nobody knows how it ended, and it counts as failed. So does
// one whose record is damaged, which nobody can work on. It returns the batch as it is then.
func (b *Batches) review(ctx context.Context, batch Request, cancel bool) (Request, error) {
	ids, err := b.memberIDs(ctx, &batch)
	if err != nil {
		return batch, err
	}
	var mu sync.Mutex
	var count Count
	err = each(len(ids), func(i int) error {
		if batch.Batch.Has(i) {
			return nil
		}
		r, err := b.member(ctx, &batch, i, ids[i])
		_, damaged := errors.AsType[*DamageError](err)
		if err == nil && cancel && !r.Status.Terminal() {
			if r, err = b.store.Apply(ctx, r.Ref(), Cancel{}); err == nil && r.Status.Terminal() {
				b.service.queue.Discard(r)
			}
			if _, ended := errors.AsType[*TransitionError](err); ended {
				r, err = b.member(ctx, &batch, i, ids[i])
			}
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, ErrNotFound) && batch.Status == Pending: // it is about to be stored
		case errors.Is(err, ErrNotFound), damaged && batch.Status != Pending:
			count.Ends = append(count.Ends, MemberEnd{i, Failed})
		case err != nil:
			return err
		case r.Status.Terminal():
			count.Ends = append(count.Ends, MemberEnd{i, r.Status})
		case r.ExpiresAt.After(count.Until):
			count.Until = r.ExpiresAt
		}
		return nil
	})
	if batch.Status.Terminal() {
		return batch, err
	}
	// What was found counts, even if not all could be read.
	r, failed := b.store.Apply(ctx, batch.Ref(), count)
	if failed == nil {
		batch = r
	}
	if _, refused := errors.AsType[*TransitionError](failed); refused || errors.Is(failed, ErrNotFound) {
		failed = nil
	}
	return batch, errors.Join(err, failed)
}

// advance does what is left to be done of a batch when ends were counted: with cancel its members
// are canceled if something has failed that is to end the others, too; it is concluded if all have
// ended.
func (b *Batches) advance(ctx context.Context, batch Request, cancel bool) error {
	if cancel && batch.Status == Processing && batch.Batch.Open() > 0 && batch.stops() {
		var err error
		if batch, err = b.review(ctx, batch, true); err != nil {
			return err
		}
	}
	if !batch.toConclude() {
		return nil
	}
	return b.conclude(ctx, batch.Ref())
}

// goOn advances a batch, again and again while the store is away, for about as long as ends are
// told; Reconcile does it then.
func (b *Batches) goOn(of Ref) {
	for tries := 1; ; tries++ {
		ctx, stop := context.WithTimeout(context.Background(), reviewTime)
		batch, err := b.store.Get(ctx, of)
		if err == nil {
			err = b.advance(ctx, batch, true)
		}
		stop()
		if err == nil || errors.Is(err, ErrNotFound) {
			return
		}
		if !errors.Is(err, ErrUnavailable) || tries > countTries || !b.completions.pause(backoff.Exponential(tries, countPause, time.Minute)) {
			b.service.log.LogAttrs(ctx, slog.LevelWarn, "a batch could not be gone on with yet", slog.String("request", of.ID), slog.Any("error", err))
			return
		}
	}
}

// cancel cancels the members of a batch of which that was asked for, and returns the batch as it is
// then. What cannot be canceled yet is later, because the batch is marked.
func (b *Batches) cancel(ctx context.Context, batch Request) Request {
	batch, err := b.review(ctx, batch, true)
	if err != nil {
		b.service.log.LogAttrs(ctx, slog.LevelWarn, "requests of a batch could not be canceled yet", slog.String("request", batch.ID), slog.Any("error", err))
	}
	if batch.toConclude() {
		b.completions.inBackground(func() { b.goOn(batch.Ref()) })
	}
	return batch
}

// expired cancels the members of a batch that has run out of time. It does not wait.
func (b *Batches) expired(batch Request) {
	b.completions.inBackground(func() {
		ctx, stop := context.WithTimeout(context.Background(), reviewTime)
		defer stop()
		if _, err := b.review(ctx, batch, true); err != nil && !errors.Is(err, ErrNotFound) {
			b.service.log.LogAttrs(ctx, slog.LevelWarn, "requests of a batch that expired could not be canceled", slog.String("request", batch.ID), slog.Any("error", err))
		}
	})
}

// reviewTime bounds a review that nobody waits for.
const reviewTime = 30 * time.Second
