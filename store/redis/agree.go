package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
)

// queueField is the field of meta that says where work is queued: in Redis, or, if it is not there,
// elsewhere.
const (
	queueField = "queue"
	queueHere  = "redis"
	queueMoves = "moves" // to elsewhere, and what is left of it here is being removed
)

// ErrOtherQueue: other processes that are there have the work of this store queued elsewhere.
var ErrOtherQueue = errors.New("other processes that use this store have its work queued elsewhere: give all of them --amqp, or none, and stop those that are there first")

// Of the processes that find the work queued elsewhere one moves it. It says so again and again,
// else another one does it.
const (
	moveFor   = 30 * time.Second
	moveEvery = moveFor / 6
	moveLook  = 100 * time.Millisecond // how often the others look whether it has been done
)

// errMoved: another process has taken over to move the work.
var errMoved = errors.New("another process moves the work")

// AgreeOnQueue sees to it that all processes of the store have its work queued in the same place,
// see [Options.Queue]. If that was another one, and no process is there any more, the work is
// moved, by one process, for which others wait until ctx ends: what has not ended is queued here,
// as far as it is not; or what is worked on is handed back, as what was lost, and nothing is left
// here, so that whoever looks after requests that wait queues all of them elsewhere. ErrOtherQueue
// if some are there.
func (s *Store) AgreeOnQueue(ctx context.Context) error {
	want := ""
	if s.options.Queue {
		want = queueHere
	}
	for {
		known, err := s.queuedIn(ctx)
		if err != nil || known == want {
			return err
		}
		if err := s.othersThere(ctx); err != nil {
			// Those may be there since they have moved it.
			if known, failure := s.queuedIn(ctx); failure == nil && known == want {
				return nil
			}
			return err
		}
		mine, err := s.Lead(ctx, "queue", moveFor)
		if err != nil {
			return err
		}
		if mine {
			if err = s.move(ctx, want); !errors.Is(err, errMoved) {
				return err
			}
		}
		if backoff.Wait(ctx, moveLook) != nil {
			return context.Cause(ctx)
		}
	}
}

// move moves the work, if nobody has done so yet, and lets others do it then.
func (s *Store) move(ctx context.Context, want string) error {
	defer func() { _, _ = s.Lead(context.WithoutCancel(ctx), "queue", time.Millisecond) }()
	known, err := s.queuedIn(ctx)
	if err != nil || known == want {
		return err
	}
	m := &move{s: s, said: time.Now()}
	if s.options.Queue {
		return m.here(ctx)
	}
	return m.elsewhere(ctx, known)
}

// queuedIn is the field of meta, "" if there is none.
func (s *Store) queuedIn(ctx context.Context) (string, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	known, err := s.client.HGet(bound, s.options.Prefix+":meta", queueField).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return "", failed(ctx, err)
	}
	return known, nil
}

// setQueuedIn changes it.
func (s *Store) setQueuedIn(ctx context.Context, where string) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	meta := s.options.Prefix + ":meta"
	if where == "" {
		return failed(ctx, s.client.HDel(bound, meta, queueField).Err())
	}
	return failed(ctx, s.client.HSet(bound, meta, queueField, where).Err())
}

// othersThere returns ErrOtherQueue if processes use the store, or take work from it, which those
// do, too, that do not say that they are there.
func (s *Store) othersThere(ctx context.Context) error {
	others, err := s.Present(ctx)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return ErrOtherQueue
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	var counts []*goredis.IntCmd
	now := strconv.FormatInt(micros(s.Now()), 10)
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for _, tag := range s.tags {
			counts = append(counts, p.ZCount(bound, tag+"q:leases", "("+now, "+inf"))
		}
		return nil
	}); err != nil {
		return failed(ctx, err)
	}
	if slices.ContainsFunc(counts, func(c *goredis.IntCmd) bool { return c.Val() > 0 }) {
		return ErrOtherQueue
	}
	return nil
}

// move is one try to move the work of a store.
type move struct {
	s    *Store
	said time.Time // when it said last that it does so
}

// goOn says, now and then, that it goes on. errMoved: it has been silent for too long.
func (m *move) goOn(ctx context.Context) error {
	if time.Since(m.said) < moveEvery {
		return nil
	}
	mine, err := m.s.Lead(ctx, "queue", moveFor)
	if err == nil && !mine {
		err = errMoved
	}
	m.said = time.Now()
	return err
}

// here queues here what has not ended.
func (m *move) here(ctx context.Context) error {
	q := m.s.Queue()
	for r, err := range m.s.Unfinished(ctx) {
		if err == nil {
			err = m.goOn(ctx)
		}
		if err != nil {
			return err
		}
		if r.Batch != nil || r.Parked {
			continue
		}
		w := Work{Route: r.Route, Request: r.Ref(), Message: r.StartedBy, Sequence: r.Sequence}
		if _, err := q.Put(ctx, w, r.NotBefore, r.Status == lifecycle.Processing); err != nil {
			return err
		}
	}
	return m.s.setQueuedIn(ctx, queueHere)
}

// elsewhere hands back what is worked on by processes that are gone, and removes what is queued
// here, but for what was put aside. known is where the work is queued. If it breaks off, the next
// one goes on with it, or queues here what is not any more.
func (m *move) elsewhere(ctx context.Context, known string) error {
	s := m.s
	if known == queueHere {
		for r, err := range s.Unfinished(ctx) {
			if err == nil {
				err = m.goOn(ctx)
			}
			if err != nil {
				return err
			}
			if r.Status != lifecycle.Processing {
				break // these come first
			}
			if r.Batch != nil {
				continue
			}
			// Refused is what has ended meanwhile, or been reported: by a call that was under way.
			_, err := s.Apply(ctx, r.Ref(), lifecycle.Release{Attempt: r.Attempt, Message: r.StartedBy, Lost: true})
			if errors.Is(err, lifecycle.ErrUnavailable) {
				return err
			}
		}
		if err := s.setQueuedIn(ctx, queueMoves); err != nil {
			return err
		}
	}
	for _, tag := range s.tags {
		names, err := s.client.Names(ctx, tag+"q:")
		if err != nil {
			return failed(ctx, err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, "dead:") })
		for some := range slices.Chunk(names, 500) {
			if err := m.goOn(ctx); err != nil {
				return err
			}
			for i, name := range some {
				some[i] = tag + "q:" + name
			}
			bound, cancel := s.bounded(ctx)
			err := s.client.Unlink(bound, some...).Err()
			cancel()
			if err != nil {
				return failed(ctx, err)
			}
		}
	}
	return s.setQueuedIn(ctx, "")
}
