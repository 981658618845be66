package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Reconcile goes on with a batch where others have left off, because their process died or the
// store was away: it stores and queues members that are missing, counts ends that nobody has told
// of, and cancels what is to be canceled. It reads every member that is not counted.
func (s *Service) Reconcile(ctx context.Context, batch Request) error {
	if batch.Status == Pending {
		// Whoever has stored it may still be at it, and must not take it back any more.
		if _, err := s.store.Apply(ctx, batch.Ref(), Repeat{}); err != nil {
			return err
		}
		return s.fanOut(ctx, batch, false)
	}
	_, err := s.review(ctx, batch, batch.CancelRequested)
	return err
}

// review counts the members of a batch that have ended and are not counted, and lets the batch run
// out of time after the others. cancel: those are canceled. A member that is not there, though all
// were stored, was forgotten, or lost; nobody knows how it ended, and it counts as failed. It
// returns the batch as it is then.
func (s *Service) review(ctx context.Context, batch Request, cancel bool) (Request, error) {
	ids, err := s.memberIDs(ctx, &batch)
	if err != nil {
		return batch, err
	}
	var mu sync.Mutex
	var count Count
	err = each(len(ids), func(i int) error {
		if batch.Batch.Has(i) {
			return nil
		}
		r, err := s.member(ctx, &batch, i, ids[i])
		if err == nil && cancel && !r.Status.Terminal() {
			if r, err = s.store.Apply(ctx, r.Ref(), Cancel{}); err == nil && r.Status.Terminal() {
				s.queue.Discard(r)
			}
			if _, ended := errors.AsType[*TransitionError](err); ended {
				r, err = s.member(ctx, &batch, i, ids[i])
			}
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, ErrNotFound) && batch.Status == Pending: // it is about to be stored
		case errors.Is(err, ErrNotFound):
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
	r, failed := s.store.Apply(ctx, batch.Ref(), count)
	if failed == nil {
		batch = r
	}
	if _, refused := errors.AsType[*TransitionError](failed); refused || errors.Is(failed, ErrNotFound) {
		failed = nil
	}
	return batch, errors.Join(err, failed)
}

// Swept takes note of requests that a store's Sweep has ended, of those that go on with the default
// of their question, and of members of batches that it has forgotten. It does not wait.
func (s *Service) Swept(all []Request) {
	for _, r := range all {
		if r.BatchID != "" {
			s.completions.add(s, r)
		}
		if r.Status == Pending {
			s.completions.inBackground(func() { s.enqueueAgain(context.Background(), r) })
			continue
		}
		s.queue.Discard(r)
		if r.Batch == nil || r.Status != Expired {
			continue
		}
		s.completions.inBackground(func() {
			ctx, stop := context.WithTimeout(context.Background(), reviewTime)
			defer stop()
			if _, err := s.review(ctx, r, true); err != nil && !errors.Is(err, ErrNotFound) {
				s.log.LogAttrs(ctx, slog.LevelWarn, "requests of a batch that expired could not be canceled", slog.String("request", r.ID), slog.Any("error", err))
			}
		})
	}
}

// reviewTime bounds a review that nobody waits for.
const reviewTime = 30 * time.Second
