package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// recoverBatch is how many messages are enqueued together.
const recoverBatch = 100

// Recover enqueues, oldest first, what an endpoint wants of its owner's events since a time
// and there is no delivery of, because it was disabled or had not been made then, and makes due
// what was given up since. It reaches as far back as the owner's feed does. It returns how many
// deliveries there will be. ErrConflict unless the endpoint is Active or Paused.
func (s *Service) Recover(ctx context.Context, owner, id string, since time.Time) (int, error) {
	e, _, err := s.store.Endpoint(ctx, owner, id)
	if err != nil {
		return 0, err
	}
	if e.Status != Active && e.Status != Paused {
		return 0, ErrConflict
	}
	n, err := s.redrive(ctx, &e, since)
	if err != nil {
		return n, err
	}
	var batch []Message
	enqueue := func() error {
		made, err := s.store.Enqueue(ctx, owner, id, batch)
		n, batch = n+made, batch[:0]
		return err
	}
	for after := uint64(0); ; {
		events, last, err := s.options.Events(ctx, owner, after)
		if err != nil {
			return n, err
		}
		for _, event := range events {
			if m, ok := wanted(&e, event, since); ok {
				m.Body = s.options.Text(event)
				if batch = append(batch, m); len(batch) == recoverBatch {
					if err := enqueue(); err != nil {
						return n, err
					}
				}
			}
		}
		if len(events) == 0 || last <= after {
			return n, enqueue()
		}
		after = last
	}
}

// wanted makes a message of an event that an endpoint wants.
func wanted(e *Endpoint, event *lifecycle.Event, since time.Time) (Message, bool) {
	if event.Request.ID == "" || event.Time.Before(since) || !e.Wants(string(event.Type), event.Route, event.Topic) {
		return Message{}, false
	}
	return Message{
		ID: MessageID(event.Request, event.Sequence), Lane: LaneOf(event.Request), Type: string(event.Type),
	}, true
}

// redrive makes the dead letters since a time due again, the oldest first.
func (s *Service) redrive(ctx context.Context, e *Endpoint, since time.Time) (int, error) {
	var dead []string
	for q := (Query{State: Dead, Limit: 200}); ; {
		page, err := s.store.ListDeliveries(ctx, e.Owner, e.ID, q)
		if err != nil {
			return 0, err
		}
		for _, d := range page.Deliveries {
			if !d.CreatedAt.Before(since) {
				dead = append(dead, d.ID)
			}
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	for i := range dead {
		err := s.store.Resend(ctx, e.Owner, e.ID, dead[len(dead)-1-i])
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrConflict) {
			return i, err
		}
	}
	return len(dead), nil
}
