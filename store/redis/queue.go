package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// Queue is the work that waits in Redis, in the partition of its request, where the step that lets
// a request be worked on puts it: there is no moment in which it is stored and not queued. Who
// takes work has a lease in the partition, which has to be renewed; when it runs out, what was
// taken by it is handed out again. Methods of all processes may be called concurrently. Errors wrap
// lifecycle.ErrUnavailable.
//
// It knows nothing of who works: broker/redis does.
type Queue struct{ s *Store }

// Queue returns the work of a store that was opened with [Options.Queue].
func (s *Store) Queue() *Queue { return &Queue{s} }

// Partitions is how many there are, numbered from 0.
func (q *Queue) Partitions() int { return len(q.s.tags) }

// Told is the partition in which processes say on which routes they work.
func (q *Queue) Told() int { return q.s.partition(present) }

// Now is the time on the server's clock, see [Store.Now].
func (q *Queue) Now() time.Time { return q.s.Now() }

// Work is a piece of work that was taken.
type Work struct {
	Entry string // its name in the queue
	Route string
	Rank  int // 9 first
	// Request is what the work is of; Message names it, as [lifecycle.Start] has it. Sequence is
	// that of the event since which it waits, 0 if that is not known.
	Request  lifecycle.Ref
	Message  string
	Sequence uint64
	Again    bool // it was handed out before
}

// workOf reads an entry. It is the queue (route NUL inverse-priority), the ticket, the name, and,
// if there need be no request that is stored, message and sequence behind a line feed each.
func workOf(entry string) (Work, bool) {
	route, rest, ok := strings.Cut(entry, "\x00")
	if !ok || len(rest) <= 1+ticketSize || rest[0] < '0' || rest[0] > '9' {
		return Work{}, false
	}
	w := Work{Entry: entry, Route: route, Rank: int('9' - rest[0]), Message: rest[1 : 1+ticketSize]}
	name, more, own := strings.Cut(rest[1+ticketSize:], "\n")
	w.Request = lifecycle.ParseRef(name)
	if own {
		message, sequence, _ := strings.Cut(more, "\n")
		w.Message = message
		w.Sequence, _ = strconv.ParseUint(sequence, 10, 64)
	}
	return w, true
}

// Want is work of some routes, at most so many pieces. What comes first of all of them is taken
// first.
type Want struct {
	Routes []string
	Most   int
}

// Taken is what came of a [Want].
type Taken struct {
	Work []Work
	// More: there may be more, and nobody is woken for it. Much of what was looked at is needed by
	// nobody any more, and others wait for the server meanwhile.
	More bool
}

// ErrNoLease: a lease in a partition has run out, or there never was one.
var ErrNoLease = errors.New("the lease has run out")

// Take takes work in a partition by a lease, in one step, and lets go of entries that are done
// with. It answers for each of wants. Where less comes than is wanted, sleeper is woken, see
// [Queue.Listen], when there may be more, unless there is now. ErrNoLease: nothing was taken, and
// what was taken before is somebody else's. After another error some may have been taken: see
// [Queue.Held].
func (q *Queue) Take(ctx context.Context, partition int, lease, sleeper string, done []string, wants []Want) ([]Taken, error) {
	args := make([]any, 0, 3+len(done)+3*len(wants))
	args = append(args, lease, sleeper, len(done))
	for i := range done {
		args = append(args, &done[i])
	}
	for _, w := range wants {
		args = append(args, w.Most, len(w.Routes))
		for i := range w.Routes {
			args = append(args, &w.Routes[i])
		}
	}
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	answer, err := q.s.run(bound, q.s.works.take, partition, args...)
	switch {
	case err != nil:
		return nil, failed(ctx, err)
	case answer.Verdict() == "lost":
		return nil, ErrNoLease
	case answer.Verdict() != "ok" || len(answer) > 1+len(wants):
		return nil, failed(ctx, link.ErrAnswer)
	}
	taken := make([]Taken, len(wants))
	for i := range len(answer) - 1 {
		pieces := answer.List(1 + i)
		taken[i].More = len(pieces)%3 == 1 // it stands behind them by itself
		for n := 0; n+2 < len(pieces); n += 3 {
			w, ok := workOf(pieces.Text(n))
			if !ok {
				return nil, failed(ctx, link.ErrAnswer) // the script lets none through
			}
			w.Again = pieces.Text(n+1) != ""
			if value := pieces.Text(n + 2); value != "" {
				// Of one that is damaged whoever starts it is told.
				if r, err := decodeRecord(w.Request.ID, value); err == nil {
					w.Sequence = cmp.Or(w.Sequence, r.Sequence)
					q.s.taken.note(r)
				}
			}
			taken[i].Work = append(taken[i].Work, w)
		}
	}
	return taken, nil
}

// How work goes back that was taken.
const (
	Untouched = "untouched" // nobody has been given it
	Returned  = "back"      // somebody has, and hands it back
	Lost      = "lost"      // who was given it has gone away, which counts against the limit
)

// Return puts work back in its place. What is no longer held by the lease is left alone. limit is
// how often work may be lost before it is put aside.
func (q *Queue) Return(ctx context.Context, partition int, lease, how string, limit int, entries ...string) error {
	args := []any{lease, how, limit, q.s.ahead.Load()}
	for i := range entries {
		args = append(args, &entries[i])
	}
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	_, err := q.s.run(bound, q.s.works.back, partition, args...)
	return failed(ctx, err)
}

// Held returns the entries that were taken by a lease.
func (q *Queue) Held(ctx context.Context, partition int, lease string) ([]string, error) {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	entries, err := q.s.client.HKeys(bound, q.s.tags[partition]+"q:h:"+lease).Result()
	return entries, failed(ctx, err)
}

// Tending is what [Queue.Tend] does and with what.
type Tending struct {
	Lease string
	New   bool          // it begins
	For   time.Duration // it is renewed for
	// Gap is for how long nobody may have tended the partition: longer, and its server was away,
	// so that nobody could renew a lease. Then all are given as long as this one.
	Gap    time.Duration
	Limit  int      // see [Queue.Return]
	Routes []string // that the process works on, see [Queue.Told]
	// Sleeper is the name of the process, Asleep the routes for which it waits to be woken.
	Sleeper string
	Asleep  []string
}

// Tended is what came of it.
type Tended struct {
	Due   time.Duration // until the next of what is delayed is due; negative: none is
	Holds int           // entries that the lease has
	// Leases of other processes that have run out, what of theirs is handed out again, and what was
	// put aside because it was lost too often.
	Over, Again, Aside int
	// Of the routes for which the process sleeps, how many have work all the same: it was not
	// woken.
	Ready int
}

// Tend renews a lease in a partition, hands out again what those have whose lease has run out, and
// lets be taken what is due. ErrNoLease comes with what was done.
func (q *Queue) Tend(ctx context.Context, partition int, t Tending) (Tended, error) {
	begins, routes := "", ""
	if t.New {
		begins = "1"
	}
	if partition == q.Told() {
		routes = " " + strings.Join(t.Routes, " ")
	}
	args := []any{t.Lease, t.For.Microseconds(), begins, t.Gap.Microseconds(), t.Limit, q.s.ahead.Load(), routes, t.Sleeper}
	for _, route := range t.Asleep {
		args = append(args, route)
	}
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	answer, err := q.s.run(bound, q.s.works.tend, partition, args...)
	if err != nil {
		return Tended{}, failed(ctx, err)
	}
	n, err := answer.Numbers(1, 6)
	if err != nil {
		return Tended{}, failed(ctx, err)
	}
	done := Tended{Due: time.Duration(n[0]) * time.Microsecond, Holds: int(n[1]), Over: int(n[2]), Again: int(n[3]), Aside: int(n[4]), Ready: int(n[5])}
	if answer.Verdict() != "ok" {
		return done, ErrNoLease
	}
	return done, nil
}

// Leave ends a lease in a partition. What it has goes back. Its process is not woken any more for
// work of the routes.
func (q *Queue) Leave(ctx context.Context, partition int, lease, sleeper string, routes []string) error {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	_, err := q.s.run(bound, q.s.works.leave, partition, lease, sleeper, strings.Join(routes, " "))
	return failed(ctx, err)
}

// Pass wakes another process for work of a route, because the one that was woken takes none now.
func (q *Queue) Pass(ctx context.Context, partition int, route string) error {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	_, err := q.s.run(bound, q.s.works.pass, partition, route)
	return failed(ctx, err)
}

// Put queues work that no step has queued: of a request that is stored, if it waits and is not
// queued, or, with working, is worked on and nobody has it; and of one that is not stored. It
// reports whether it did so; otherwise it does nothing.
func (q *Queue) Put(ctx context.Context, w Work, notBefore time.Time, working bool) (bool, error) {
	due, begun := "", ""
	if notBefore.After(q.s.Now()) {
		due = strconv.FormatInt(micros(notBefore), 10)
	}
	if working {
		begun = "1"
	}
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	answer, err := q.s.run(bound, q.s.works.put, q.s.partition(w.Request.ID), w.Request.ID, w.Request.String(), queueOf(w.Route, w.Rank), due,
		w.Message, w.Sequence, q.s.ahead.Load(), begun)
	if err != nil {
		return false, failed(ctx, err)
	}
	n, err := answer.Number(1)
	return n == 1, failed(ctx, err)
}

// Awake is what a process is told by [Queue.Listen].
type Awake interface {
	// Work: there may be work of a route.
	Work(partition int, route string)
	// Due: what is delayed is due at a time of the server.
	Due(partition int, at time.Time)
	// Missed: something may have been told that was not heard.
	Missed(partition int)
}

// Listen has a process told, by its name as a sleeper, until stop is called; calls that run then go
// on. Methods must not block. It waits for the subscriptions as [Store.OnCancel] does.
func (q *Queue) Listen(sleeper string, f Awake) (stop func()) {
	s := q.s
	var subscribed []<-chan struct{}
	for partition, tag := range s.tags {
		subscribed = append(subscribed,
			s.subscriber(partition).Subscribe(tag+"b:work:"+sleeper, ear{partition, f, false}),
			s.subscriber(partition).Subscribe(tag+"b:work", ear{partition, f, true}))
	}
	s.await("work", subscribed...)
	return func() {
		for partition, tag := range s.tags {
			s.subscriber(partition).Unsubscribe(tag + "b:work:" + sleeper)
			s.subscriber(partition).Unsubscribe(tag + "b:work")
		}
	}
}

// ear implements link.Handler.
type ear struct {
	partition int
	f         Awake
	due       bool
}

func (e ear) Message(payload string) {
	if !e.due {
		e.f.Work(e.partition, payload)
		return
	}
	if at, err := strconv.ParseInt(payload, 10, 64); err == nil {
		e.f.Due(e.partition, time.UnixMicro(at))
	}
}

func (e ear) Missed() { e.f.Missed(e.partition) }

// Consumers returns how many processes work on each route, as they say when they renew their
// leases. Who has none any more is not counted.
func (q *Queue) Consumers(ctx context.Context) (map[string]int, error) {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	tag := q.s.tags[q.Told()]
	var all *goredis.MapStringStringCmd
	var leases *goredis.StringSliceCmd
	if _, err := q.s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		all, leases = p.HGetAll(bound, tag+"q:on"), p.ZRange(bound, tag+"q:leases", 0, -1)
		return nil
	}); err != nil {
		return nil, failed(ctx, err)
	}
	count, on := make(map[string]int), all.Val()
	for _, lease := range leases.Val() {
		for route := range strings.FieldsSeq(on[lease]) {
			count[route]++
		}
	}
	return count, nil
}

// Aside is work that was put aside.
type Aside struct {
	At     time.Time
	Reason string // delivery_limit: it was lost too often; rejected: it is none
	Entry  string
	Work   Work // zero if it is none
}

// asideTime is for how long it is kept, as in dead queues of RabbitMQ; see work_held.lua, too.
const asideTime = 7 * 24 * time.Hour

// Asides counts what was put aside of routes, and forgets what was so too long ago.
func (q *Queue) Asides(ctx context.Context, routes []string) (map[string]int, error) {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	counts := make([]*goredis.IntCmd, 0, len(routes)*len(q.s.tags))
	oldest := strconv.FormatInt(micros(q.s.Now().Add(-asideTime)), 10)
	_, err := q.s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for _, route := range routes {
			for _, tag := range q.s.tags {
				p.ZRemRangeByScore(bound, tag+"q:dead:"+route, "-inf", oldest)
				counts = append(counts, p.ZCard(bound, tag+"q:dead:"+route))
			}
		}
		return nil
	})
	if err != nil {
		return nil, failed(ctx, err)
	}
	all := make(map[string]int, len(routes))
	for i, count := range counts {
		all[routes[i/len(q.s.tags)]] += int(count.Val())
	}
	return all, nil
}

// ListAside returns what was put aside of a route, the oldest first, at most limit.
func (q *Queue) ListAside(ctx context.Context, route string, limit int) ([]Aside, error) {
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	var all []Aside
	for _, tag := range q.s.tags {
		found, err := q.s.client.ZRangeWithScores(bound, tag+"q:dead:"+route, 0, int64(limit)-1).Result()
		if err != nil {
			return nil, failed(ctx, err)
		}
		for _, z := range found {
			member, _ := z.Member.(string)
			a := Aside{At: time.UnixMicro(int64(z.Score)).UTC()}
			a.Reason, a.Entry, _ = strings.Cut(member, " ")
			if a.Reason != "rejected" {
				a.Work, _ = workOf(a.Entry)
			}
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(x, y Aside) int { return x.At.Compare(y.At) })
	return all[:min(limit, len(all))], nil
}

// ReviveAside queues again what was put aside of a route, as far as its request still waits for it
// or is worked on by it and it is not queued again already, and returns how much that was. The rest
// stays.
func (q *Queue) ReviveAside(ctx context.Context, route string) (int, error) {
	revived := 0
	for partition := range q.s.tags {
		for from, more := int64(0), true; more; {
			bound, cancel := q.s.bounded(ctx)
			answer, err := q.s.run(bound, q.s.works.revive, partition, route, from)
			cancel()
			if err != nil {
				return revived, failed(ctx, err)
			}
			n, err := answer.Numbers(1, 3)
			if err != nil {
				return revived, failed(ctx, err)
			}
			revived += int(n[1])
			from, more = from+n[2], n[0] > 0
		}
	}
	return revived, nil
}

// ForgetAside forgets what was put aside of a route, and returns how much that was.
func (q *Queue) ForgetAside(ctx context.Context, route string) (int, error) {
	counts, err := q.Asides(ctx, []string{route})
	if err != nil {
		return 0, err
	}
	bound, cancel := q.s.bounded(ctx)
	defer cancel()
	for _, tag := range q.s.tags {
		if err := q.s.client.Unlink(bound, tag+"q:dead:"+route).Err(); err != nil {
			return 0, failed(ctx, err)
		}
	}
	return counts[route], nil
}
