package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/deadline"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
)

// appending is one call of AppendStream.
type appending struct {
	a    stream.Append
	turn chan []*appending // its turn to append those, itself included
	done chan struct{}     // closed when somebody has

	added stream.Appended
	err   error
}

// appends lets those that are to be appended to one stream while an append is on its way go
// together with the next, which the first of them makes. The zero value is ready.
type appends struct {
	mu      sync.Mutex
	waiting map[string][]*appending // by key, while one is on its way
}

// togetherBytes is how many bytes go together, unless one has more.
const togetherBytes = 256 << 10

// begin returns those that the caller is to append, itself included, or nil when somebody has. It
// returns the error of ctx if that ends before anybody has begun with it.
func (x *appends) begin(ctx context.Context, key string, c *appending) ([]*appending, error) {
	x.mu.Lock()
	queue, busy := x.waiting[key]
	if x.waiting == nil {
		x.waiting = make(map[string][]*appending)
	}
	if !busy {
		x.waiting[key] = nil
		x.mu.Unlock()
		return []*appending{c}, nil
	}
	c.turn, c.done = make(chan []*appending, 1), make(chan struct{})
	x.waiting[key] = append(queue, c)
	x.mu.Unlock()
	select {
	case all := <-c.turn:
		return all, nil
	case <-c.done:
		return nil, nil
	case <-ctx.Done():
	}
	x.mu.Lock()
	queue = x.waiting[key]
	if i := slices.Index(queue, c); i >= 0 {
		x.waiting[key] = slices.Delete(slices.Clone(queue), i, i+1)
		x.mu.Unlock()
		return nil, ctx.Err()
	}
	x.mu.Unlock()
	select {
	case all := <-c.turn: // a duty to the others
		return all, nil
	case <-c.done: // its bytes are being read until then
		return nil, nil
	}
}

// end lets the next ones go.
func (x *appends) end(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	queue := x.waiting[key]
	if len(queue) == 0 {
		delete(x.waiting, key)
		return
	}
	n, size := 1, len(queue[0].a.Body)
	for n < len(queue) && size+len(queue[n].a.Body) <= togetherBytes {
		size += len(queue[n].a.Body)
		n++
	}
	x.waiting[key] = queue[n:]
	queue[0].turn <- queue[:n:n]
}

// AppendStream implements stream.Store.
func (s *Store) AppendStream(ctx context.Context, n stream.Name, a stream.Append) (stream.Appended, error) {
	if err := ctx.Err(); err != nil {
		return stream.Appended{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	n, err := s.resolve(bound, n)
	if err != nil {
		return stream.Appended{}, streamAnswer(ctx, err)
	}
	a.Prepare() // while nobody waits
	c, key := &appending{a: a}, n.Key()
	all, err := s.appends.begin(bound, key, c)
	if err != nil {
		return stream.Appended{}, failed(ctx, err)
	}
	if all != nil {
		s.appendAll(ctx, n, all)
		s.appends.end(key)
		for _, other := range all {
			if other != c {
				close(other.done)
			}
		}
	}
	return c.added, streamAnswer(ctx, c.err)
}

// appendAll appends for some callers, each of whom gets an outcome or an error.
func (s *Store) appendAll(ctx context.Context, n stream.Name, all []*appending) {
	// The others do not care when the context of one ends, and it is known then what became of his.
	ctx, cancel := deadline.Within(context.WithoutCancel(ctx), s.options.Timeout)
	defer cancel()
	err := s.changing.lock(ctx, n.Key())
	if err == nil {
		err = s.appendTogether(ctx, n, all)
		s.changing.unlock(n.Key())
	}
	switch {
	case err == nil:
	case isA[*stream.SizeError](err) && len(all) > 1: // there may be room for some of them
		for i := range all {
			s.appendAll(ctx, n, all[i:i+1])
		}
	default:
		for _, c := range all {
			c.err = err
		}
	}
}

func (s *Store) appendTogether(ctx context.Context, n stream.Name, all []*appending) error {
	v, err := s.see(ctx, n, false)
	for i := 0; err == nil && i < attempts; i++ {
		w := s.decide(n, &v, all)
		if !w.changes {
			if v.fresh {
				return nil
			}
			// What was refused may be by what has changed meanwhile.
			v, err = s.see(ctx, n, true)
			continue
		}
		v, err = s.appendDecided(ctx, n, &v, w)
		if !errors.Is(err, errConflict) {
			return err
		}
		err = pause(ctx, i)
	}
	if err == nil {
		err = errContended
	}
	return err
}

// decided is what appends come to.
type decided struct {
	is      stream.Stream
	stored  []byte
	quota   stream.Quota
	changes bool
}

// maxBytes is how many bytes of its own a stream has at most: a string of Redis has no more.
const maxBytes = 512 << 20

// decide decides for each in turn, and tells those that change nothing so.
func (s *Store) decide(n stream.Name, v *view, all []*appending) (d decided) {
	var lost error
	var parts [][]byte
	switch {
	case n.Output() && v.r == nil:
		lost = lifecycle.ErrNoOutput
	case n.Output() && v.k == nil:
		d.is = stream.NewOutput(n)
	case v.k == nil:
		lost = stream.ErrNotFound
	default:
		d.is = v.k.Stream
		if !n.Output() {
			lost = d.is.Lost(v.now)
		}
	}
	for _, c := range all {
		if c.added, c.err = (stream.Appended{}), lost; lost != nil {
			continue
		}
		var stored []byte
		if n.Output() {
			c.added, stored, c.err = lifecycle.AppendOutput(&v.r.Request, d.is, v.now, c.a)
		} else {
			c.added, stored, c.err = d.is.Append(v.now, &c.a)
		}
		if c.err != nil || c.added.Repeated {
			continue
		}
		if c.added.Stream.Tail-v.k.begin() > maxBytes {
			c.err = &stream.SizeError{What: "stream", Limit: maxBytes}
			continue
		}
		d.is, d.quota, d.changes = c.added.Stream, c.a.Quota, true
		parts = append(parts, stored)
	}
	if len(parts) == 1 {
		d.stored = parts[0]
	} else {
		d.stored = slices.Concat(parts...)
	}
	return d
}

// begin is own of what may not be there.
func (k *streamRecord) begin() uint64 {
	if k == nil {
		return 0
	}
	return k.own()
}

// appendDecided stores what was decided. With errConflict comes what is there now.
func (s *Store) appendDecided(ctx context.Context, n stream.Name, v *view, d decided) (view, error) {
	key, owner, id, fence := n.Key(), n.Owner, "", ""
	var partition int
	if n.Output() {
		owner, id, fence = v.r.Owner, v.r.ID, v.r.token
		partition = s.partition(id)
		d.is.Closed = false // that is known of its request
	} else {
		partition = v.k.partition
	}
	next, sums := s.next(v.k, d.is, d.stored)
	next.partition = partition
	most, err := s.mayStore(ctx, owner, partition, d.quota.Stored, len(d.stored))
	if err != nil {
		return *v, err
	}
	due := ""
	if at := d.is.Due(); !at.IsZero() {
		due = strconv.FormatInt(micros(at), 10)
	}
	last := ""
	if d.is.Closed {
		last = "1"
	}
	head := next.head(d.is.Tail-uint64(len(d.stored)), len(d.stored))
	args := []any{key, v.k.token(), next.encode(), due, owner, most, head, d.stored, sums, last}
	var r *record
	if n.Output() {
		args = append(args, id, fence)
		if !v.r.HasOutput {
			r = new(record)
			*r = *v.r
			r.HasOutput, r.token, r.event = true, newToken(), ""
			args = append(args, r.append(make([]byte, 0, recordSize)))
		}
	}
	run := s.client.RunTask
	if len(d.stored) > stageSize {
		run = s.client.RunTaskAlone // others should not wait behind it
	}
	answer, err := run(ctx, s.streamWriters.append, s.tags[partition], micros(v.now), args...)
	if err != nil {
		if !s.wasWritten(ctx, partition, key, next.token()) {
			return *v, err
		}
		s.streams.drop(key)
		return *v, nil
	}
	switch answer.Verdict() {
	case "ok":
		s.streams.put(key, next)
		if r != nil {
			s.recent.put(r)
		}
		s.usages.taken(owner, partition, lifecycle.Usage{Bytes: int64(len(d.stored))})
		return *v, nil
	case "conflict":
		newer := view{now: s.later(v.now), r: v.r, fresh: true}
		value := answer.Text(1)
		if _, _, moved := s.pointerOf(value); value == "" && !n.Output() || moved {
			s.streams.drop(key)
			newer, err = s.see(ctx, n, true)
			return newer, errors.Join(err, errConflict)
		}
		if value != "" {
			newer.k, err = s.streamRecordOf(key, value, partition)
		}
		return newer, errors.Join(err, errConflict)
	case "fenced":
		newer := view{now: s.later(v.now), k: v.k, fresh: true}
		if value := answer.Text(1); value != "" {
			r, err := s.record(id, value)
			if err != nil {
				return newer, err
			}
			s.recent.put(r)
			if lifecycle.ParseRef(n.Path).Of(&r.Request) {
				newer.r = r
			}
		}
		return newer, errConflict
	case "quota":
		return *v, s.beyondStored(ctx, owner, answer, d.quota.Stored, len(d.stored))
	default:
		return *v, link.ErrAnswer
	}
}

// later is the time that is known now, but not before one that was.
func (s *Store) later(than time.Time) time.Time {
	if now, ok := s.clock.Recent(s.ahead.Load()); ok && now.After(than) {
		return now
	}
	return than
}

// wasWritten reports whether a write of a stream was made whose answer is not known. If it cannot
// be told, it says no.
func (s *Store) wasWritten(ctx context.Context, partition int, key, token string) bool {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	value, _, err := s.look(bound, partition, key)
	if err != nil {
		return false
	}
	k, err := decodeStreamRecord(value, partition)
	if err != nil {
		return false
	}
	for rest := k.tokens; rest != ""; rest = rest[tokenSize:] {
		if rest[:tokenSize] == token {
			return true
		}
	}
	return false
}

// mayStore returns how many bytes an owner may have stored in a partition after more were stored
// there, as a script takes it. [*stream.SizeError] if there is no room for them.
func (s *Store) mayStore(ctx context.Context, owner string, partition int, most int64, more int) (string, error) {
	if most <= 0 || more == 0 {
		return "0", nil
	}
	sub := &lifecycle.Submission{Owner: owner, Quota: lifecycle.Quota{Bytes: most}}
	allowed, ok := s.usages.allowed(sub, partition)
	if !ok {
		if err := s.askStored(ctx, owner, most, more); err != nil {
			return "", err
		}
		if allowed, ok = s.usages.allowed(sub, partition); !ok {
			return "", &stream.SizeError{What: "owner", Limit: most}
		}
	}
	return strconv.FormatInt(allowed.Bytes, 10), nil
}

// askStored reads what an owner has stored everywhere, and returns an error if there is no room for
// more.
func (s *Store) askStored(ctx context.Context, owner string, most int64, more int) error {
	by, err := s.usage(ctx, owner)
	if err != nil {
		return err
	}
	s.usages.put(owner, by)
	total := int64(more)
	for _, there := range by {
		total += there.Bytes
	}
	if total > most {
		return &stream.SizeError{What: "owner", Limit: most}
	}
	return nil
}

// beyondStored says what it comes to that a partition has refused bytes: an error, or errConflict
// if it is to be tried again.
func (s *Store) beyondStored(ctx context.Context, owner string, _ link.Answer, most int64, more int) error {
	if len(s.tags) == 1 {
		return &stream.SizeError{What: "owner", Limit: most}
	}
	if err := s.askStored(ctx, owner, most, more); err != nil {
		return err
	}
	return errConflict
}
