package redis

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
)

// Apply implements lifecycle.Store.
func (s *Store) Apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (_ lifecycle.Request, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpApply, time.Now(), &err)
	if c == nil {
		return lifecycle.Request{}, errors.New("no change to apply")
	}
	if err := ctx.Err(); err != nil {
		return lifecycle.Request{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.changing.lock(bound, of.ID); err != nil {
		return lifecycle.Request{}, failed(ctx, err)
	}
	defer s.changing.unlock(of.ID)
	r, err := s.apply(bound, of, c)
	return r, answered(ctx, err)
}

// Begin implements lifecycle.Store: what was submitted comes with the record, unless it is large.
func (s *Store) Begin(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (_ lifecycle.Request, _ lifecycle.Content, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpBegin, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return lifecycle.Request{}, lifecycle.Content{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	p, r, err := s.begin(bound, of, c)
	if err != nil || r.Status != lifecycle.Processing {
		return r, lifecycle.Content{}, answered(ctx, err)
	}
	if p.input == "" {
		content, err := s.content(ctx, r.Ref(), lifecycle.Input)
		return r, content, err
	}
	content, err := codec.OpenBody([]byte(p.input))
	if err != nil {
		return r, lifecycle.Content{}, s.damaged(of.ID, partName(lifecycle.Input), err)
	}
	return r, content, nil
}

func (s *Store) begin(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (p snapshot, r lifecycle.Request, err error) {
	if err := s.changing.lock(ctx, of.ID); err != nil {
		return p, r, err
	}
	defer s.changing.unlock(of.ID)
	if p, r, err = s.beginTaken(ctx, of, c); p.r != nil {
		return p, r, err
	}
	if p, err = s.snapshotWithInput(ctx, of); err == nil {
		r, err = s.step(of, c).from(ctx, p)
	}
	return p, r, err
}

// beginTaken is begin of what was taken from the queue in Redis just now, with its record: one
// round trip, which brings what was submitted. It answers without a snapshot if the record is not
// known, or does not allow it; it may have changed meanwhile.
func (s *Store) beginTaken(ctx context.Context, of lifecycle.Ref, c lifecycle.Start) (snapshot, lifecycle.Request, error) {
	var none snapshot
	was := s.taken.take(of.ID)
	now, known := s.clock.Recent(s.ahead.Load())
	if was == nil || !known || of.Life == lifecycle.AnyLife || !of.Of(&was.Request) {
		return none, lifecycle.Request{}, nil
	}
	var input *goredis.StringCmd
	st := s.step(of, c)
	st.beside = func(p goredis.Pipeliner) {
		input = p.GetRange(ctx, s.tags[st.partition]+"i:"+of.String(), 0, stageSize)
	}
	p := snapshot{now: now, r: was}
	r, newer, err := st.try(ctx, p)
	st.beside = nil
	switch _, refused := errors.AsType[*lifecycle.TransitionError](err); {
	case refused:
		return none, lifecycle.Request{}, nil
	case errors.Is(err, errConflict):
		r, err = st.from(ctx, newer)
	}
	if err == nil && input != nil {
		body, failure := input.Result()
		if failure == nil && len(body) <= stageSize {
			p.input = body
		}
	}
	return p, r, err
}

// answered is failed, except for what a change is answered with.
func answered(ctx context.Context, err error) error {
	if _, refused := errors.AsType[*lifecycle.TransitionError](err); refused || errors.Is(err, lifecycle.ErrNotFound) {
		return err
	}
	return failed(ctx, err)
}

func (s *Store) apply(ctx context.Context, of lifecycle.Ref, c lifecycle.Change) (lifecycle.Request, error) {
	st := s.step(of, c)
	defer func() { s.unstage(ctx, st.partition, st.body) }()
	count := countNothing
	switch c := c.(type) {
	case lifecycle.Progress, lifecycle.Succeed:
		if p, ok := s.cached(of); ok {
			r, newer, err := st.try(ctx, p)
			_, refused := errors.AsType[*lifecycle.TransitionError](err)
			switch {
			case errors.Is(err, errConflict):
				return st.from(ctx, newer)
			case !refused: // a refusal may be by what has changed meanwhile
				return r, err
			}
		}
	case lifecycle.Release, lifecycle.Answer, lifecycle.Expire, lifecycle.Redrive:
		// Some wait again with that.
		count = countTail
	case lifecycle.Fail:
		if c.Retry {
			count = countTail
		}
	}
	p, err := s.snapshot(ctx, of.ID, "", count, "")
	if err != nil {
		return lifecycle.Request{}, err
	}
	return st.from(ctx, p)
}

// cached is a snapshot of what is known of a request without asking, if that will do to try a step.
func (s *Store) cached(of lifecycle.Ref) (snapshot, bool) {
	r := s.recent.get(of.ID)
	if r == nil || !of.Of(&r.Request) {
		return snapshot{}, false
	}
	now, ok := s.clock.Recent(s.ahead.Load())
	return snapshot{now: now, r: r}, ok
}

// step is one call of Apply.
type step struct {
	s         *Store
	of        lifecycle.Ref
	partition int
	change    lifecycle.Change

	body   *staged                 // what is stored with it, if anything is
	beside func(goredis.Pipeliner) // adds what is to be read in the same round trip; nil: nothing
}

func (s *Store) step(of lifecycle.Ref, c lifecycle.Change) *step {
	return &step{s: s, of: of, partition: s.partition(of.ID), change: c}
}

// from makes the change, beginning with what was read.
func (st *step) from(ctx context.Context, p snapshot) (lifecycle.Request, error) {
	for n := range attempts {
		if p.r == nil || !st.of.Of(&p.r.Request) {
			return lifecycle.Request{}, lifecycle.ErrNotFound
		}
		r, newer, err := st.try(ctx, p)
		if !errors.Is(err, errConflict) {
			return r, err
		}
		p = newer
		if err := pause(ctx, n); err != nil {
			return lifecycle.Request{}, err
		}
	}
	return lifecycle.Request{}, errContended
}

// try makes the change to the record that was read. With errConflict comes what
// is there now.
func (st *step) try(ctx context.Context, p snapshot) (lifecycle.Request, snapshot, error) {
	s, was := st.s, p.r
	if p.now.Before(was.UpdatedAt) { // the one who made that knew the server's time better
		p.now = was.UpdatedAt
	}
	effect, err := lifecycle.Transition(was.Request, st.change, p.now)
	if err != nil {
		return lifecycle.Request{}, p, err
	}
	next := &effect.Request
	if !effect.Changed {
		if next.Status == lifecycle.Pending { // with its position, as the first time
			if _, out, err := s.load(ctx, next.Ref()); err != nil || out.ID != "" {
				return out, p, err
			}
		}
		return *next, p, nil
	}
	if err := st.prepare(ctx); err != nil {
		return lifecycle.Request{}, p, err
	}
	is := &record{Request: *next, token: newToken(), ticket: was.ticket, serial: was.serial, queue: was.queue, event: effect.Event}
	slot := lifecycle.SlotStepOf(&was.Request, next, p.now)
	args, outboxes, err := st.args(ctx, is, p, effect.Asked, slot)
	if err != nil {
		return lifecycle.Request{}, p, err
	}
	answer, err := s.client.RunTaskBeside(ctx, st.beside, s.writers.change, s.tags[st.partition], micros(p.now), args...)
	if err != nil {
		return lifecycle.Request{}, p, err
	}
	switch answer.Verdict() {
	case "ok", "slots":
		if st.body != nil {
			st.body.used = true
		}
		s.recent.put(is)
		s.usages.taken(next.Owner, st.partition, next.Usage().Minus(was.Usage()))
		s.relayNow(ctx, st.partition, outboxes)
		s.ended(ctx, &is.Request)
		s.pace(&was.Request, &is.Request)
		s.stepped(&was.Request, &is.Request)
		out := is.Request
		if answer.Verdict() == "slots" {
			out.Parked = slot == lifecycle.SlotLeftFor && answer.Text(1) == "0"
			s.tellFreed(answer, 2)
		}
		return out, p, nil
	case "parked":
		return lifecycle.Request{}, p, lifecycle.NoSlot(&was.Request)
	case "gone":
		return lifecycle.Request{}, p, lifecycle.ErrNotFound
	case "unstaged":
		return lifecycle.Request{}, p, errUnstaged
	case "conflict":
		newer, err := st.s.decodeSnapshot(st.of.ID, answer[1:])
		// The script knows only what it was told.
		if now, ok := s.clock.Recent(s.ahead.Load()); ok && now.After(newer.now) {
			newer.now = now
		}
		return lifecycle.Request{}, newer, errors.Join(err, errConflict)
	default:
		return lifecycle.Request{}, p, link.ErrAnswer
	}
}

// args are the arguments of the script, and the partitions whose outbox the event goes to. What is
// pending again gets its position; the script gives it its ticket. asked: see [lifecycle.Effect].
func (st *step) args(ctx context.Context, is *record, p snapshot, asked bool, slot lifecycle.SlotStep) ([]any, []int, error) {
	s, was, next := st.s, p.r, &is.Request
	expires, ended, cancels := "", "", ""
	if next.Status == lifecycle.Pending && was.Status != lifecycle.Pending {
		n, err := s.tail(ctx, was.queue, p.count)
		if err != nil {
			return nil, nil, err
		}
		next.Position = &n
	}
	if !next.ExpiresAt.Equal(was.ExpiresAt) {
		expires = strconv.FormatInt(micros(next.ExpiresAt), 10)
	}
	if next.Status.Terminal() {
		ended = strconv.FormatInt((next.ExpiresAt.Sub(p.now) + s.options.Margin).Milliseconds(), 10)
	}
	user, opened, stored, waits := "", "", "", ""
	if more := next.Usage().Minus(was.Usage()); more != (lifecycle.Usage{}) {
		user, opened, stored, waits = next.Owner, strconv.FormatInt(more.Open, 10), strconv.FormatInt(more.Bytes, 10), strconv.FormatInt(more.Waiting, 10)
	}
	body, answers := new(staged), ""
	if st.body != nil {
		body = st.body
	}
	if next.AnswersSize > 0 {
		answers = "1"
	}
	if value, part := lifecycle.BodyOf(st.change); value != nil && part == lifecycle.Answers {
		answers = "2"
	}
	died := ""
	if next.Status == lifecycle.Failed && next.Batch == nil {
		died = strconv.FormatInt(micros(next.EndedAt), 10)
	}
	working := ""
	if next.Status == lifecycle.Processing && was.Status != lifecycle.Processing && next.Batch == nil {
		working = workingOf(next.Route)
	}
	direct := ""
	if working != "" && s.options.Queue && was.Status == lifecycle.Pending && next.StartedBy != was.ticket {
		direct = "1"
	}
	if s.options.Queue && next.Status == lifecycle.Pending && next.NotBefore.After(p.now) {
		working = strconv.FormatInt(micros(next.NotBefore), 10)
	}
	sequence, owner, topic, hook := "", "", "", ""
	var outboxes []int
	if is.event != "" {
		sequence = strconv.FormatUint(next.Sequence, 10)
		owner, topic, outboxes = s.feeds(next, st.partition)
		hook = hookOf(next, is.event)
	}
	if asked {
		cancels = s.cancelChannel()
	}
	hasOutput := ""
	if next.HasOutput && ended != "" {
		hasOutput = "1"
	}
	// The last ones of these mostly are not given.
	given := []string{
		next.ID, next.Ref().String(), was.token, "", sequence, owner, topic, expires, ended, body.name, cancels, hook, user, opened, stored, waits, slotOf(slot, next),
		answers, died, direct, working, hasOutput,
	}
	for (body.value == nil || inRecord(next, st.change)) && len(given) > 4 && given[len(given)-1] == "" {
		given = given[:len(given)-1]
	}
	args := make([]any, len(given), len(given)+1)
	for i := range given {
		args[i] = &given[i] // a string would be allocated once more
	}
	args[3] = is.append(make([]byte, 0, recordSize))
	if body.value != nil && !inRecord(next, st.change) {
		args = append(args, body.value)
	}
	return args, outboxes, nil
}

// inRecord reports whether the record has a result byte for byte, so that it need not be kept by
// itself.
func inRecord(r *lifecycle.Request, c lifecycle.Change) bool {
	output, _ := lifecycle.BodyOf(c)
	return output != nil && r.Result != nil && len(r.Result.Value) > 0 && r.Result.Type == output.Type &&
		bytes.Equal(r.Result.Value, output.Data)
}

// prepare encodes what is stored with the change, once.
func (st *step) prepare(ctx context.Context) (err error) {
	content, _ := lifecycle.BodyOf(st.change)
	if content == nil || st.body != nil {
		return nil
	}
	st.body, err = st.s.stage(ctx, st.partition, content)
	return err
}

// pause waits a little before the n-th further attempt, so that those who were in
// each other's way go apart.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		return ctx.Err()
	}
	longest := min(time.Duration(n)*200*time.Microsecond, 5*time.Millisecond)
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delete implements lifecycle.Store.
func (s *Store) Delete(ctx context.Context, of lifecycle.Ref) (err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpDelete, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	for range attempts {
		p, err := s.snapshot(bound, of.ID, "", countNothing, "")
		switch {
		case err != nil:
			return failed(ctx, err)
		case p.r == nil || !of.Of(&p.r.Request):
			return lifecycle.ErrNotFound
		case !p.r.Status.Terminal():
			return lifecycle.ErrNotEnded
		}
		// First what others wait for: if that breaks off, the request is there yet, and its owner
		// can delete it again.
		if err := s.forgetDeliveries(bound, p.r); err != nil {
			return failed(ctx, err)
		}
		done, err := s.forget(bound, p.r)
		if err != nil {
			return failed(ctx, err)
		}
		if done {
			return nil
		}
	}
	return failed(ctx, errContended)
}

// forget removes a request that has ended. It reports false if somebody else
// changed or forgot it.
func (s *Store) forget(ctx context.Context, r *record) (bool, error) {
	return s.forgetAs(ctx, r, r.Usage())
}

// forgetAs is forget of a request that counts for so much. Of one whose record is damaged, damaged
// is that and the entries that there may be in pending.
func (s *Store) forgetAs(ctx context.Context, r *record, takes lifecycle.Usage, damaged ...any) (bool, error) {
	partition, d := s.partition(r.ID), digest(r.Owner, r.Key)
	localKey := ""
	if d != "" && s.partition(d) == partition {
		localKey = d
	}
	feeds := [2]string{}
	for i, channel := range r.Channels()[1:] {
		if name := channel.Key(); s.partition(name) == partition {
			feeds[i] = name
		}
	}
	opened, stored, waits := "", "", ""
	if r.Counted {
		less := lifecycle.Usage{}.Minus(takes)
		opened, stored, waits = strconv.FormatInt(less.Open, 10), strconv.FormatInt(less.Bytes, 10), strconv.FormatInt(less.Waiting, 10)
	}
	args := append([]any{
		r.ID, r.token, r.Owner, codec.OwnerEntry(&r.Request), localKey, r.Ref().String(), r.Life, feeds[0], feeds[1], opened, stored, waits,
	}, damaged...)
	answer, err := s.run(ctx, scripts.forget, partition, args...)
	if err != nil || answer.Verdict() != "ok" {
		return false, err
	}
	s.usages.taken(r.Owner, partition, lifecycle.Usage{}.Minus(takes))
	if d != "" && localKey == "" {
		// If this does not happen, the key names nothing and is free all the same.
		_, err = s.run(ctx, scripts.unclaim, s.partition(d), d, r.ID, r.Life, "")
	}
	return true, err
}
