package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// What a snapshot counts.
const (
	countNothing = ""
	countAhead   = "own"   // how many are before a pending request
	countTail    = "tail"  // how many there are up to its priority
	countQueue   = "queue" // how many there are in a queue given
)

// snapshot is what is known in this process of a request, and of what a step of it needs, at some
// time.
type snapshot struct {
	now   time.Time
	r     *record     // nil: there is none
	count int         // in this partition
	known link.Answer // the idempotency key, if one was asked for
	input string      // what was submitted, if snapshotWithInput has found it and it is not large
}

// snapshot reads what is there, by a script.
func (s *Store) snapshot(ctx context.Context, id, digest, count, queue string) (snapshot, error) {
	ahead := s.ahead.Load()
	answer, err := s.run(ctx, scripts.snapshot, s.partition(id), ahead, id, digest, count, queue)
	if err != nil {
		return snapshot{}, err
	}
	p, err := s.decodeSnapshot(id, answer)
	if err == nil {
		s.clock.Set(p.now, ahead)
	}
	return p, err
}

// snapshotWithInput is snapshot with what was submitted, if that is not large. It takes no script
// if the time is known: who makes a step with the record is told if it was replaced since, and what
// was submitted is read after it and never changes as long as it is there.
func (s *Store) snapshotWithInput(ctx context.Context, of lifecycle.Ref) (p snapshot, err error) {
	now, known := s.clock.Recent(s.ahead.Load())
	if !known || of.Life == lifecycle.AnyLife { // what was submitted is kept by life
		return s.snapshot(ctx, of.ID, "", countNothing, "")
	}
	tag := s.tags[s.partition(of.ID)]
	var record, input *goredis.StringCmd
	if err := s.client.Send(ctx, func(p goredis.Pipeliner) {
		record, input = p.Get(ctx, tag+"r:"+of.ID), p.GetRange(ctx, tag+"i:"+of.String(), 0, stageSize)
	}); err != nil {
		return snapshot{}, err
	}
	value, err := record.Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return snapshot{}, nil
	case err != nil:
		return snapshot{}, err
	case input.Err() != nil:
		return snapshot{}, input.Err()
	}
	p = snapshot{now: now}
	if body := input.Val(); len(body) <= stageSize {
		p.input = body
	}
	p.r, err = s.record(of.ID, value)
	return p, err
}

func (s *Store) decodeSnapshot(id string, answer link.Answer) (p snapshot, err error) {
	now, err := answer.Number(0)
	if err != nil {
		return snapshot{}, err
	}
	count, err := answer.Number(2)
	if err != nil {
		return snapshot{}, err
	}
	p = snapshot{now: time.UnixMicro(now).UTC(), count: int(count), known: answer.List(3)}
	if value := answer.Text(1); value != "" {
		p.r, err = s.record(id, value)
	}
	return p, err
}

// tail returns how many wait in a queue's route up to the end of its priority,
// over all partitions. own is what the request's partition said.
func (s *Store) tail(ctx context.Context, queue string, own int) (int, error) {
	return s.count(ctx, span{queue, queue + "\xff"}, own)
}

// span is a stretch of a route in pending: from its beginning to an entry, exclusive.
type span struct{ queue, to string }

// count sums over all partitions how many entries a span has; own is what the
// request's partition said.
func (s *Store) count(ctx context.Context, where span, own int) (int, error) {
	if len(s.tags) == 1 {
		return own, nil
	}
	counts := s.counts(ctx, []span{where}, []int{own})
	return counts[0], ctx.Err()
}

// countPause is for how long other partitions are left out of positions after one
// of them did not answer.
const countPause = time.Second

// countWait bounds how long a call waits for the positions alone.
const countWait = 500 * time.Millisecond

// counts returns for each span how many entries it has in all partitions. They are
// asked at once but answer one after the other, so that with several of them a position
// may be off by what changed meanwhile. A partition that does not answer is left
// out: a position is not worth failing for. own is what the requests' own partitions said.
func (s *Store) counts(ctx context.Context, spans []span, own []int) []int {
	now := time.Now()
	if now.UnixNano() < s.countAgain.Load() {
		return own
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	commands := make([]*goredis.IntCmd, 0, len(spans)*len(s.tags))
	if _, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, span := range spans {
			route := span.queue[:len(span.queue)-1]
			for _, tag := range s.tags {
				commands = append(commands, p.ZLexCount(ctx, tag+"pending", "["+route, "("+span.to))
			}
		}
		return nil
	}); err != nil {
		s.countAgain.Store(now.Add(countPause).UnixNano())
	}
	counts := make([]int, len(spans))
	for i, command := range commands {
		counts[i/len(s.tags)] += int(command.Val())
	}
	for i := range counts {
		counts[i] = max(counts[i], own[i]) //nolint:gosec // both are as long as spans
	}
	return counts
}

// present returns a request as it is handed out: a pending one with its position.
// count is what its own partition said.
func (s *Store) present(ctx context.Context, r *record, count int) (lifecycle.Request, error) {
	out := r.Request
	if out.Status != lifecycle.Pending {
		return out, nil
	}
	n, err := s.count(ctx, span{r.queue, r.member()}, count)
	if err != nil {
		return lifecycle.Request{}, err
	}
	out.Position = &n
	if !out.Concurrency.Limited() {
		return out, nil
	}
	found := []lifecycle.Request{out}
	err = s.lineUp(ctx, found, []*record{r})
	return found[0], err
}

// load returns a request as it is handed out, and its record; nil if there is none.
func (s *Store) load(ctx context.Context, of lifecycle.Ref) (*record, lifecycle.Request, error) {
	p, err := s.snapshot(ctx, of.ID, "", countAhead, "")
	if err != nil || p.r == nil || !of.Of(&p.r.Request) {
		return nil, lifecycle.Request{}, err
	}
	out, err := s.present(ctx, p.r, p.count)
	return p.r, out, err
}

// feeds are the feeds that a request's events go to, its owner's and its topic's, "" if it has
// none, as scripts take them: behind the number of its partition if a feed is not in that of the
// request. Then the event goes to the outbox for it, and outboxes has it.
func (s *Store) feeds(r *lifecycle.Request, partition int) (owner, topic string, outboxes []int) {
	var names [2]string
	for i, channel := range r.Channels()[1:] {
		names[i] = channel.Key()
		if at := s.partition(names[i]); at != partition {
			names[i] = strconv.Itoa(at) + " " + names[i]
			if !slices.Contains(outboxes, at) {
				outboxes = append(outboxes, at)
			}
		}
	}
	return names[0], names[1], outboxes
}

// chunkOf is how many events are dropped at a time from a channel that keeps n.
func chunkOf(n int) int { return max(n/8, 1) }
