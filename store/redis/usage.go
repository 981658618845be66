package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// What an owner takes is counted in each partition, in the scripts that change it. On a single
// server that is exact. Of more partitions each may be filled up to half of its part without asking
// the others. Who takes more in one of them is held against the sum of all from then on, which is
// read again when it is a second old: by then other nodes may have stored more. Who chooses ids by
// their partition may take half more than its quota at most.

// usages is what a node knows of owners that take more than half of their part somewhere. It may be
// used by many goroutines.
type usages struct {
	partitions int

	mu sync.Mutex
	of map[string]*spread
}

// spread is what an owner takes in each partition, as it was read, and what this node has changed
// since.
type spread struct {
	read time.Time
	by   []lifecycle.Usage
}

// usageAge is for how long that counts, nearTime for how long the owner is held against it,
// usageMost how many owners there are of whom that is known.
const (
	usageAge  = time.Second
	nearTime  = time.Minute
	usageMost = 1000
)

// allowed returns what a submission's owner may take in a partition, or false if the others have to
// be asked for that.
func (u *usages) allowed(sub *lifecycle.Submission, partition int) (lifecycle.Quota, bool) {
	q := sub.Quota
	if u.partitions == 1 || q == (lifecycle.Quota{}) {
		return q, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	known := u.of[sub.Owner]
	if known == nil || time.Since(known.read) > nearTime {
		n := int64(2 * u.partitions)
		part := lifecycle.Quota{Open: q.Open / n, Bytes: q.Bytes / n, Waiting: q.Waiting / n}
		return part, (part.Open > 0 || q.Open == 0) && (part.Bytes > 0 || q.Bytes == 0) && (part.Waiting > 0 || q.Waiting == 0)
	}
	if time.Since(known.read) > usageAge {
		return q, false
	}
	var others lifecycle.Usage
	for i, there := range known.by {
		if i != partition {
			others = others.Plus(there)
		}
	}
	left := lifecycle.Quota{Open: q.Open - others.Open, Bytes: q.Bytes - others.Bytes, Waiting: q.Waiting - others.Waiting}
	// 0 would be any number.
	if q.Open > 0 && left.Open <= 0 || q.Bytes > 0 && left.Bytes <= 0 || q.Waiting > 0 && left.Waiting <= 0 {
		return left, false
	}
	if q.Open == 0 {
		left.Open = 0
	}
	if q.Bytes == 0 {
		left.Bytes = 0
	}
	if q.Waiting == 0 {
		left.Waiting = 0
	}
	return left, true
}

// allowed returns what the creation's owner may take in its partition.
func (c *creation) allowed(ctx context.Context, takes lifecycle.Usage) (lifecycle.Quota, error) {
	quota, ok := c.s.usages.allowed(c.sub, c.partition)
	if ok {
		return quota, nil
	}
	if err := c.ask(ctx, takes); err != nil {
		return quota, err
	}
	if quota, ok = c.s.usages.allowed(c.sub, c.partition); !ok { // others were faster
		return quota, errConflict
	}
	return quota, nil
}

// ask reads what the owner takes everywhere, and returns an error if there is no room for more.
func (c *creation) ask(ctx context.Context, takes lifecycle.Usage) error {
	by, err := c.s.usage(ctx, c.sub.Owner)
	if err != nil {
		return err
	}
	var all lifecycle.Usage
	for _, there := range by {
		all = all.Plus(there)
	}
	c.s.usages.put(c.sub.Owner, by)
	return c.sub.Quota.Admit(all, takes)
}

// taken adds what this node has changed.
func (u *usages) taken(owner string, partition int, takes lifecycle.Usage) {
	if u.partitions == 1 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if known := u.of[owner]; known != nil {
		known.by[partition] = known.by[partition].Plus(takes)
	}
}

// put keeps what was read.
func (u *usages) put(owner string, by []lifecycle.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil || len(u.of) >= usageMost {
		u.of = make(map[string]*spread)
	}
	u.of[owner] = &spread{read: time.Now(), by: by}
}

// beyond says what a creation comes to that a partition has refused: an error of the quota, or
// errConflict if it is to be tried again, by what was read of the other partitions.
func (c *creation) beyond(ctx context.Context, answer link.Answer, takes lifecycle.Usage) error {
	here, err := answer.Numbers(1, 3)
	if err != nil {
		return err
	}
	if c.s.usages.partitions == 1 {
		if err := c.sub.Quota.Admit(lifecycle.Usage{Open: here[0], Bytes: here[1], Waiting: here[2]}, takes); err != nil {
			return err
		}
		return errConflict
	}
	if err := c.ask(ctx, takes); err != nil {
		return err
	}
	return errConflict
}

// usage reads what an owner takes in each partition.
func (s *Store) usage(ctx context.Context, owner string) ([]lifecycle.Usage, error) {
	answers := make([]*goredis.SliceCmd, len(s.tags))
	if _, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, tag := range s.tags {
			answers[i] = p.HMGet(ctx, tag+"use:"+owner, "o", "b", "w")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	by := make([]lifecycle.Usage, len(s.tags))
	for i, answer := range answers {
		for j, field := range []*int64{&by[i].Open, &by[i].Bytes, &by[i].Waiting} {
			if text, ok := answer.Val()[j].(string); ok {
				n, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return nil, err
				}
				*field = n
			}
		}
	}
	return by, nil
}

// isQuota reports whether a creation was refused by its owner's quota.
func isQuota(err error) bool {
	_, ok := errors.AsType[*lifecycle.QuotaError](err)
	return ok
}

// isFull reports whether a creation was refused because a route has no room.
func isFull(err error) bool {
	_, ok := errors.AsType[*lifecycle.FullError](err)
	return ok
}

// roomArgument is what the script that creates is told of the room that a submission needs. Of more
// partitions each holds its part of what waits, unless all of it waits in one.
func (s *Store) roomArgument(sub *lifecycle.Submission) string {
	n, parts := sub.Room, int64(len(s.tags))
	switch {
	case n.Most <= 0:
		return ""
	case sub.Concurrency.Route > 0:
		parts = 1
	}
	var text strings.Builder
	text.WriteString(strconv.FormatInt((n.Most+parts-1)/parts, 10))
	for route, more := range n.Routes {
		text.WriteString(" " + strconv.FormatInt((more+parts-1)/parts, 10) + " " + route)
	}
	return text.String()
}
