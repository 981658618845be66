package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// An idempotency key lives in the partition of its digest. If that is the request's
// own, the key is taken in the step that creates the request. If not:
//
//  1. The key is claimed for the request, with a token and the lock that the
//     submission asks for. Others are told that the first call is in progress.
//  2. The request is created, which fails if the token was declared void.
//
// Whoever finds a claim whose lock has passed and whose request is not there first
// declares the token void in the request's partition, so that the one who claimed
// cannot create it any more however slow it is, and then replaces the claim.

var errConflict = errors.New("changed meanwhile")

// keyRecord is the use of an idempotency key.
type keyRecord struct {
	lifecycle.KeyUse
	token string // of who claimed it
}

// decodeKey returns nil if the key was not used.
func decodeKey(fields link.Answer) *keyRecord {
	if fields.Text(3) == "" {
		return nil
	}
	k := &keyRecord{token: fields.Text(3)}
	k.Request, k.Fingerprint = lifecycle.Ref{ID: fields.Text(0), Life: fields.Text(5)}, fields.Text(1)
	if locked, err := strconv.ParseInt(fields.Text(2), 10, 64); err == nil {
		k.LockedUntil = time.UnixMicro(locked)
	}
	if raw := fields.Text(4); raw != "" {
		reply := new(lifecycle.Reply)
		if json.Unmarshal([]byte(raw), reply) == nil {
			k.Reply = reply
		}
	}
	return k
}

// keyMargin is how much longer than its request is expected to live a key is kept
// by Redis at most. A request that is extended for longer than that loses its key.
const keyMargin = 30 * 24 * time.Hour

func (c *creation) keyTTL() time.Duration { return c.sub.Timeout + c.sub.Retention + keyMargin }

// match says what becomes of the submission by what its key was used for, which may be nothing, and
// by the request that has its id, nil if there is none or that has not been asked yet.
func (c *creation) match(ctx context.Context, k *keyRecord, r *record, now time.Time) (lifecycle.Created, lifecycle.Match, error) {
	var found lifecycle.Found
	if k != nil {
		found.Key = &k.KeyUse
		known, request, err := c.s.load(ctx, k.Request) // with its position
		if err != nil {
			return lifecycle.Created{}, lifecycle.NoMatch, err
		}
		if known != nil {
			found.Named = &request
		}
	}
	if r != nil {
		found.Request = &r.Request
	}
	return c.sub.Match(found, now)
}

// claim takes the key in its partition, or returns what it was used for.
func (c *creation) claim(ctx context.Context, token string) (*lifecycle.Created, error) {
	s, replaces := c.s, ""
	for range 2 {
		answer, err := c.claimFor(ctx, lifecycle.Ref{ID: c.sub.ID, Life: c.sub.Life}, token, replaces)
		if err != nil {
			return nil, err
		}
		if answer.Verdict() == "ok" {
			return nil, nil
		}
		now, err := answer.Number(1)
		k := decodeKey(answer.List(2))
		if err != nil || k == nil {
			return nil, link.ErrAnswer
		}
		created, match, err := c.match(ctx, k, nil, time.UnixMicro(now))
		if err != nil || match != lifecycle.NoMatch {
			return &created, err
		}
		if r, err := s.void(ctx, k.Request.ID, k.token); err != nil || r != nil && k.Request.Of(&r.Request) {
			if err == nil {
				err = errConflict // it was created just now
			}
			return nil, err
		}
		replaces = k.token
	}
	return nil, errConflict
}

// claimFor lets the key name a request, unless another claim than the one to replace stands.
func (c *creation) claimFor(ctx context.Context, of lifecycle.Ref, token, replaces string) (link.Answer, error) {
	s := c.s
	return s.run(ctx, scripts.claim, s.partition(c.digest), s.ahead.Load(), c.digest, of.ID, c.sub.Fingerprint,
		c.sub.KeyLock.Microseconds(), token, c.keyTTL().Milliseconds(), replaces, of.Life)
}

// existed answers with what the key was used for.
func (c *creation) existed(_ context.Context, known *lifecycle.Created, err error) (lifecycle.Created, error) {
	if err != nil {
		return lifecycle.Created{}, err
	}
	return *known, nil
}

// void makes sure that a creation does not happen from now on, and returns the
// request if it is there.
func (s *Store) void(ctx context.Context, id, token string) (*record, error) {
	answer, err := s.run(ctx, scripts.void, s.partition(id), id, token, (24 * time.Hour).Milliseconds())
	if err != nil {
		return nil, err
	}
	if value := answer.Text(0); value != "" {
		return s.record(id, value)
	}
	return nil, nil
}

// withdrawTime bounds the attempt to free a claimed key after a failure.
const withdrawTime = time.Second

// withdraw gives the claimed key back after a creation that did not happen, or is not known to have
// happened, and returns why. What cannot be told now is told when the key's lock has passed.
func (c *creation) withdraw(ctx context.Context, token string, failure error) error {
	s := c.s
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	if !refused(failure) && !errors.Is(failure, errConflict) {
		r, err := s.void(bound, c.sub.ID, token)
		if err != nil || r != nil && r.Life == c.sub.Life && digest(r.Owner, r.Key) == c.digest {
			return failure // perhaps it happened, and the answer was lost
		}
	}
	_, _ = s.run(bound, scripts.unclaim, s.partition(c.digest), c.digest, "", "", token)
	return failure
}

// SaveReply implements lifecycle.Store.
func (s *Store) SaveReply(ctx context.Context, of lifecycle.Ref, owner, key string, reply lifecycle.Reply) (err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpReply, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	value, err := json.Marshal(reply)
	if err != nil {
		return fmt.Errorf("reply to an idempotency key: %w", err)
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	d := digest(owner, key)
	_, err = s.run(bound, scripts.reply, s.partition(d), d, value, of.ID, of.Life)
	return failed(ctx, err)
}
