package bolt

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Claim implements dispatch.Store. It writes nothing: what is lent is known in memory only, and
// when the process ends, it is due again.
func (s *Store) Claim(ctx context.Context, limit int, grace time.Duration) ([]dispatch.Claim, time.Duration, error) {
	var claims []dispatch.Claim
	var next time.Duration
	err := s.write(ctx, func(b *batch) error {
		now := nanos(b.now)
		for {
			e, serial, at := b.nextDue(now)
			if serial == 0 || len(claims) >= limit {
				next = max(time.Duration(min(at-now, int64(dispatch.MaxNext))), 0)
				return nil
			}
			c, err := b.lend(e, serial, now+int64(e.Timeout+grace))
			if _, damaged := errors.AsType[*lifecycle.DamageError](err); damaged {
				b.setAside(e, serial)
				continue
			}
			if err != nil {
				return err
			}
			claims = append(claims, c)
			s.endpoints.place(e, now)
		}
	})
	if err != nil {
		return nil, 0, err
	}
	return claims, next, nil
}

// nextDue returns the delivery that is to be lent now, or 0 and when the next one is.
func (b *batch) nextDue(now int64) (e *endpoint, serial uint64, at int64) {
	schedule := &b.s.endpoints.schedule
	for len(*schedule) > 0 {
		e := (*schedule)[0]
		if e.at > now {
			return nil, 0, e.at
		}
		serial, at := b.nextOf(e, now)
		if at <= now {
			return e, serial, now
		}
		b.s.endpoints.place(e, at)
	}
	return nil, 0, never
}

// nextOf returns which delivery of an endpoint may be claimed next, and when that can be.
func (b *batch) nextOf(e *endpoint, now int64) (serial uint64, at int64) {
	if e.Status != dispatch.Active {
		return 0, never
	}
	// After a stall the outcomes of what was lent are read first.
	patience := int64(b.s.options.Stall.Left())
	sending, end := e.sending(now - patience)
	if end != never {
		end += patience
	}
	if sending >= e.Slots(e.Health) {
		at = end // whatever is due then
	} else {
		serial, at = b.firstDue(e, now-patience)
		at = min(at, end)
	}
	if at == never {
		return 0, never
	}
	return serial, max(at, nanos(e.Health.HeldUntil), e.next())
}

// setAside takes a delivery that is damaged out of the way of the others.
func (b *batch) setAside(e *endpoint, serial uint64) {
	if d, err := b.loadDelivery(e, serial); err == nil {
		b.touch(e)
		b.finish(e, d, dispatch.Dead)
		return
	}
	if first, due := b.firstDue(e, never); first == serial {
		b.delete(dueBucket, dueKey(e.serial, due, serial))
	} else {
		b.setLease(e, serial, lease{until: never}) // until the next start
	}
}

// lend claims a delivery until a time.
func (b *batch) lend(e *endpoint, serial uint64, until int64) (dispatch.Claim, error) {
	d, err := b.loadDelivery(e, serial)
	if err != nil {
		return dispatch.Claim{}, err
	}
	event, err := b.event(d.ID)
	if err != nil {
		return dispatch.Claim{}, err
	}
	b.touch(e)
	e.last = nanos(b.now)
	token := rand.Text()
	b.setLease(e, serial, lease{token, until})
	return dispatch.Claim{
		Message:  dispatch.Message{ID: d.ID, Lane: d.Lane, Type: d.Type, Event: event},
		Endpoint: cloneEndpoint(e.Endpoint),
		Health:   e.health(nanos(b.now)),
		Attempt:  d.Tries + 1,
		At:       b.now,
		Token:    token,
	}, nil
}

// setLease makes, or with a zero lease ends, a claim.
func (b *batch) setLease(e *endpoint, serial uint64, l lease) {
	was, had := e.leases[serial]
	b.undo = append(b.undo, func() {
		if had {
			e.leases[serial] = was
		} else {
			delete(e.leases, serial)
		}
	})
	if l.token == "" {
		delete(e.leases, serial)
	} else {
		e.leases[serial] = l
	}
}

// Settle implements dispatch.Store.
func (s *Store) Settle(ctx context.Context, c dispatch.Claim, o dispatch.Outcome) (dispatch.Health, error) {
	var health dispatch.Health
	err := s.write(ctx, func(b *batch) error {
		e, err := s.endpoints.of(c.Endpoint.Owner, c.Endpoint.ID)
		if err != nil {
			return dispatch.ErrNotClaimed
		}
		d, err := b.find(e, c.ID)
		if errors.Is(err, dispatch.ErrNotFound) {
			return dispatch.ErrNotClaimed
		}
		if err != nil {
			return err
		}
		if held := e.leases[d.serial]; held.token == "" || held.token != c.Token {
			return dispatch.ErrNotClaimed
		}
		b.settle(e, d, o)
		health = e.health(nanos(b.now))
		return nil
	})
	return health, err
}

func (b *batch) settle(e *endpoint, d *delivery, o dispatch.Outcome) {
	b.touch(e)
	b.setLease(e, d.serial, lease{})
	d.Attempts++
	d.Tries++
	o.Attempt.At = b.now
	b.logAttempt(e, d, o.Attempt)
	e.Health = e.Health.After(o.State, b.now)
	b.saveHealth(e)
	if o.State == dispatch.Waiting {
		b.postpone(e, d, nanos(b.now.Add(o.After)))
		b.saveDelivery(e, d)
	} else {
		b.finish(e, d, o.State)
	}
	b.wake(e)
}
