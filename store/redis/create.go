package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
)

// attempts bounds how often a step is tried that others are faster with.
const attempts = 200

var (
	errContended = errors.New("too many others change the same at once")
	errUnstaged  = errors.New("a large body has vanished before it was stored")
)

// Create implements lifecycle.Store.
func (s *Store) Create(ctx context.Context, sub lifecycle.Submission) (_ lifecycle.Created, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpCreate, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return lifecycle.Created{}, err
	}
	if sub.Concurrency.Limited() && !s.Fits(&sub) {
		return lifecycle.Created{}, lifecycle.ErrUnfitID
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	c := creation{s: s, sub: &sub, partition: s.partition(sub.ID), digest: digest(sub.Owner, sub.Key)}
	c.local = c.digest == "" || s.partition(c.digest) == c.partition
	defer func() { s.unstage(bound, c.partition, c.body) }()
	c.blind = len(s.tags) == 1 // the others have to be asked for its position
	for n := range attempts {
		created, err := c.try(bound)
		switch {
		case err == nil:
			return created, nil
		case errors.Is(err, errConflict):
			if err := pause(bound, n); err != nil {
				return lifecycle.Created{}, failed(ctx, err)
			}
		case refused(err):
			return lifecycle.Created{}, err
		default:
			return lifecycle.Created{}, failed(ctx, err)
		}
	}
	return lifecycle.Created{}, failed(ctx, errContended)
}

// refused reports whether err is an answer of Create and not a failure.
func refused(err error) bool {
	return errors.Is(err, lifecycle.ErrIDTaken) || errors.Is(err, lifecycle.ErrKeyReused) || errors.Is(err, lifecycle.ErrKeyInProgress) || isQuota(err) || isFull(err)
}

// creation is one call of Create.
type creation struct {
	s         *Store
	sub       *lifecycle.Submission
	partition int
	digest    string // of the idempotency key, "" for none
	local     bool   // the key, if any, lives in the request's partition
	body      *staged
	blind     bool // not asked yet what is there: mostly there is nothing, and the script knows
}

// try does all of it once. errConflict: others were faster.
func (c *creation) try(ctx context.Context) (lifecycle.Created, error) {
	token := newToken()
	if !c.local {
		known, err := c.claim(ctx, token)
		if err != nil || known != nil {
			return c.existed(ctx, known, err)
		}
	}
	created, err := c.store(ctx, token)
	if !c.local && err != nil {
		return lifecycle.Created{}, c.withdraw(ctx, token, err)
	}
	return created, err
}

// store creates the request unless it exists.
func (c *creation) store(ctx context.Context, token string) (lifecycle.Created, error) {
	s, sub := c.s, c.sub
	localKey := ""
	if c.local {
		localKey = c.digest
	}
	queue := queueOf(sub.Route, s.rank(sub.Priority))
	p, err := c.snapshot(ctx, localKey, queue)
	if err != nil {
		return lifecycle.Created{}, err
	}
	known, replaces := decodeKey(p.known), ""
	if known != nil {
		replaces = known.token
	}
	created, match, err := c.match(ctx, known, p.r, p.now)
	switch {
	case err != nil || match == lifecycle.KeyMatch:
		return created, err
	case match == lifecycle.IDMatch:
		return c.repeated(ctx, p.r, token, replaces)
	}
	accepted, position := lifecycle.NewRequest(sub, p.now), "" // which the script finds then
	r := &accepted.Request
	if p.count >= 0 {
		n, err := s.tail(ctx, queue, p.count)
		if err != nil {
			return lifecycle.Created{}, err
		}
		r.Position, position = &n, strconv.Itoa(n)
	}
	if sub.Batch != nil {
		if err := s.noteBatch(ctx, c.partition, sub.ID, p.now); err != nil {
			return lifecycle.Created{}, err
		}
	}
	if c.body == nil {
		if c.body, err = s.stage(ctx, c.partition, &sub.Content); err != nil {
			return lifecycle.Created{}, err
		}
	}
	claim := ""
	if !c.local {
		claim = token
	}
	is := record{Request: *r, event: accepted.Event}
	owner, topic, outboxes := s.feeds(r, c.partition)
	takes := r.Usage()
	quota, err := c.allowed(ctx, takes)
	if err != nil {
		return lifecycle.Created{}, err
	}
	slot := ""
	switch later := r.NotBefore.After(p.now); {
	case r.Concurrency.Limited() && !later:
		slot = slotArgument(slotEnter, r)
	case later && s.options.Queue && sub.Batch == nil:
		slot = "d" + strconv.FormatInt(micros(r.NotBefore), 10)
	}
	args := []any{
		r.ID, r.Ref().String(), token, queue, position, is.appendRest(make([]byte, 0, recordSize)),
		micros(r.CreatedAt), micros(r.ExpiresAt), r.Owner, codec.OwnerEntry(r), c.body.value, c.body.name,
		localKey, sub.Fingerprint, micros(p.now.Add(sub.KeyLock)), replaces, c.keyTTL().Milliseconds(), claim,
		takes.Open, takes.Bytes, takes.Waiting, quota.Open, quota.Bytes, quota.Waiting, s.roomArgument(sub), slot, hookOf(r, is.event), owner,
	}
	if topic != "" {
		args = append(args, topic)
	}
	answer, err := s.client.RunTask(ctx, s.writers.create, s.tags[c.partition], micros(p.now), args...)
	if err != nil {
		return lifecycle.Created{}, err
	}
	switch answer.Verdict() {
	case "ok":
		c.body.used = true
		s.usages.taken(sub.Owner, c.partition, takes)
		s.stepped(nil, r)
		if r.Position == nil {
			n, err := answer.Number(1)
			if err != nil {
				return lifecycle.Created{}, err
			}
			r.Position = new(int(n))
		}
		s.relayNow(ctx, c.partition, outboxes)
		if r.Parked = answer.Text(2) == "parked"; r.Parked {
			s.tellFreed(answer, 3)
		}
		return lifecycle.Created{Request: *r}, nil
	case "conflict":
		return lifecycle.Created{}, errConflict
	case "unstaged":
		return lifecycle.Created{}, errUnstaged
	case "full":
		return lifecycle.Created{}, &lifecycle.FullError{Route: answer.Text(1), Most: sub.Room.Most}
	case "quota":
		return lifecycle.Created{}, c.beyond(ctx, answer, takes)
	default:
		return lifecycle.Created{}, link.ErrAnswer
	}
}

// snapshot returns what is there already; the first time that nothing is, without asking, but with
// a count below zero, if the time is known.
func (c *creation) snapshot(ctx context.Context, key, queue string) (snapshot, error) {
	if c.blind {
		c.blind = false
		if now, ok := c.s.clock.Recent(c.s.ahead.Load()); ok {
			return snapshot{now: now, count: -1}, nil
		}
	}
	return c.s.snapshot(ctx, c.sub.ID, key, countQueue, queue)
}

// repeated answers a submission that came with its id before. Its key, if it has one, names that
// request from now on.
func (c *creation) repeated(ctx context.Context, r *record, token, replaces string) (lifecycle.Created, error) {
	if c.digest != "" {
		answer, err := c.claimFor(ctx, r.Ref(), token, replaces)
		if err != nil {
			return lifecycle.Created{}, err
		}
		if answer.Verdict() != "ok" {
			return lifecycle.Created{}, errConflict
		}
	}
	_, request, err := c.s.load(ctx, r.Ref()) // with its position
	if err == nil && request.ID == "" {
		err = errConflict
	}
	return lifecycle.Created{Request: request, Existed: true}, err
}

// Bodies above this many bytes are not passed through a script, which would copy
// them twice while everybody waits: they are stored under a name of their own
// first, and renamed in the step.
const stageSize = 64 << 10

// stageTTL is how long a body waits for a step that may never come.
const stageTTL = 10 * time.Minute

// staged is a body as a script takes it: either itself or the name that it has been
// stored under.
type staged struct {
	value []byte
	name  string
	used  bool // by a step
}

func (s *Store) stage(ctx context.Context, partition int, c *lifecycle.Content) (*staged, error) {
	body := &staged{value: codec.SealBody(*c)}
	if len(body.value) <= stageSize {
		return body, nil
	}
	body.name = newToken()
	if err := s.client.Set(ctx, s.tags[partition]+"s:"+body.name, body.value, stageTTL).Err(); err != nil {
		return nil, fmt.Errorf("store a body: %w", err)
	}
	body.value = nil
	return body, nil
}

// unstage drops a body that no step has used. If that fails it goes by itself.
func (s *Store) unstage(ctx context.Context, partition int, body *staged) {
	if body != nil && body.name != "" && !body.used && ctx.Err() == nil {
		_ = s.client.Unlink(ctx, s.tags[partition]+"s:"+body.name).Err()
	}
}
