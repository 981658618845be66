package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/stream"
)

// change is one of what is known of a stream.
type change struct {
	name   stream.Name
	was    *streamRecord // nil: it was not there
	is     *streamRecord // nil: it goes
	bytes  []byte        // that it begins with, and their sums
	sums   []byte        //
	stored int64         // how many bytes more its owner has
	most   string        // that he may have; "" for any
	told   bool          // those who follow it are told that it is gone
	raw    [2]rawPointer // of a pointer: what was there, and is
}

// rawPointer is the value of a pointer, "" for none.
type rawPointer string

// write makes changes of one partition at once. It reports false if one of the streams has been
// changed meanwhile, or a token was declared void. [*stream.SizeError] has no limit.
func (s *Store) write(ctx context.Context, partition int, voided string, changes ...change) (bool, error) {
	args := []any{voided}
	for _, c := range changes {
		expected, value, due, head := c.was.token(), "", "", ""
		switch {
		case c.raw != [2]rawPointer{}:
			expected, value = string(c.raw[0]), string(c.raw[1])
			if value != "" {
				due = strconv.FormatInt(micros(s.Now().Add(pointerLook+time.Duration(s.ahead.Load())*time.Microsecond)), 10)
			}
		case c.is != nil:
			value = c.is.encode()
			if at := c.is.Due(); !at.IsZero() && !c.is.Deleted {
				due = strconv.FormatInt(micros(at), 10)
			}
		}
		if c.told {
			head = "g" + c.was.encode()
		}
		if c.most == "" {
			c.most = "0"
		}
		args = append(args, c.name.Key(), expected, value, due, c.name.Owner, strconv.FormatInt(c.stored, 10), c.most, head, c.bytes, c.sums)
	}
	answer, err := s.run(ctx, s.streamWriters.write, partition, args...)
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		s.streams.drop(c.name.Key())
		s.usages.taken(c.name.Owner, partition, lifecycle.Usage{Bytes: c.stored})
	}
	switch answer.Verdict() {
	case "ok":
		return true, nil
	case "conflict", "void":
		s.untake(partition, changes)
		return false, nil
	case "quota":
		s.untake(partition, changes)
		return false, errNoRoom
	default:
		return false, link.ErrAnswer
	}
}

// untake takes back what was noted of changes that were not made.
func (s *Store) untake(partition int, changes []change) {
	for _, c := range changes {
		s.usages.taken(c.name.Owner, partition, lifecycle.Usage{Bytes: -c.stored})
	}
}

// errNoRoom: an owner may not store so much in a partition.
var errNoRoom = errors.New("the owner may not store so much")

// CreateStream implements stream.Store.
func (s *Store) CreateStream(ctx context.Context, n stream.Name, c stream.Create) (stream.Stream, bool, error) {
	if err := ctx.Err(); err != nil {
		return stream.Stream{}, false, err
	}
	c.Prepare()
	bound, cancel := s.bounded(ctx)
	defer cancel()
	key := n.Key()
	if err := s.changing.lock(bound, key); err != nil {
		return stream.Stream{}, false, failed(ctx, err)
	}
	defer s.changing.unlock(key)
	for i := range attempts {
		is, made, err := s.createStream(bound, n, &c)
		if !errors.Is(err, errConflict) {
			return is, made, streamAnswer(ctx, err)
		}
		if err := pause(bound, i); err != nil {
			return stream.Stream{}, false, failed(ctx, err)
		}
	}
	return stream.Stream{}, false, failed(ctx, errContended)
}

// createStream does it once. errConflict: others were faster.
func (s *Store) createStream(ctx context.Context, n stream.Name, c *stream.Create) (is stream.Stream, made bool, err error) {
	f, err := s.find(ctx, n)
	if err != nil {
		return is, false, err
	}
	if f.k != nil {
		switch lost := f.k.Lost(f.now); {
		case errors.Is(lost, stream.ErrNotFound):
			if err := s.remove(ctx, n, f); err != nil {
				return is, false, err
			}
			return is, false, errConflict
		case lost != nil || !f.k.Is(c):
			return is, false, stream.ErrConflict
		}
		return f.k.Stream, false, nil
	}
	if c.Fork != nil {
		return s.createFork(ctx, n, c, f)
	}
	is, stored, err := stream.New(f.now, c)
	if err != nil {
		return is, false, err
	}
	if f.pointer != "" {
		if err := s.unpoint(ctx, n, f); err != nil {
			return is, false, err
		}
		return is, false, errConflict // it is free now
	}
	partition := s.partition(n.Key())
	err = s.makeStream(ctx, n, c, is, stored, partition, "")
	return is, err == nil, err
}

// makeStream stores a stream that was not there, and with it what else changes.
func (s *Store) makeStream(
	ctx context.Context, n stream.Name, c *stream.Create, is stream.Stream, stored []byte, partition int, claim string, more ...change,
) error {
	if len(stored) > maxBytes {
		return &stream.SizeError{What: "stream", Limit: maxBytes}
	}
	most, err := s.mayStore(ctx, n.Owner, partition, c.Quota.Stored, len(stored))
	if err != nil {
		return err
	}
	next, sums := s.next(nil, is, stored)
	made := change{name: n, is: next, bytes: stored, sums: sums, stored: int64(len(stored)), most: most}
	done, err := s.write(ctx, partition, claim, append([]change{made}, more...)...)
	switch {
	case errors.Is(err, errNoRoom):
		return s.beyondStored(ctx, n.Owner, nil, c.Quota.Stored, len(stored))
	case err != nil:
		return err
	case !done:
		return errConflict
	}
	return nil
}

// createFork makes a fork under a name of which f says what there is.
func (s *Store) createFork(ctx context.Context, n stream.Name, c *stream.Create, f found) (is stream.Stream, made bool, err error) {
	from := c.Fork.From
	if from.Output() {
		return is, false, stream.ErrNotFound
	}
	source, err := s.find(ctx, from)
	if err != nil {
		return is, false, err
	}
	if source.k == nil {
		return is, false, stream.ErrNotFound
	}
	switch lost := source.k.Lost(source.now); {
	case errors.Is(lost, stream.ErrGone):
		return is, false, stream.ErrConflict
	case lost != nil:
		return is, false, lost
	}
	at, offset, err := source.k.Parting(c.Fork, func(p []byte, position uint64) (int, error) {
		return s.readOwn(ctx, from.Key(), source.k, p, position)
	})
	if err != nil {
		return is, false, err
	}
	is, stored, err := stream.NewFork(source.now, c, &source.k.Stream, at, offset)
	if err != nil {
		return is, false, err
	}
	partition, claim := source.k.partition, ""
	if f.pointer != "" {
		if err := s.unpoint(ctx, n, f); err != nil {
			return is, false, err
		}
		return is, false, errConflict
	}
	if home := s.partition(n.Key()); home != partition {
		claim = s.streamToken()
		pointer := rawPointer(claim + string(pointerSign) + strconv.Itoa(partition))
		done, err := s.write(ctx, home, "", change{name: n, raw: [2]rawPointer{"", pointer}})
		if err != nil || !done {
			return is, false, errors.Join(err, conflictUnless(done))
		}
	}
	more := source.k.Stream
	more.Forks++
	counted, _ := s.next(source.k, more, nil)
	err = s.makeStream(ctx, n, c, is, stored, partition, claim, change{name: from, was: source.k, is: counted})
	if err != nil && claim != "" {
		f.pointer, f.to = claim, partition
		_ = s.unpoint(ctx, n, f) // else the sweep does
	}
	return is, err == nil, err
}

func conflictUnless(done bool) error {
	if done {
		return nil
	}
	return errConflict
}

const (
	// pointerLook is how long after it was written, or is to be removed, a pointer is looked at.
	pointerLook = time.Minute
	// voidFor is for how long nothing is made of a pointer that was given up.
	voidFor = 24 * time.Hour
)

// unpoint frees a name whose pointer points at nothing, in a way that nobody makes there what he
// wanted to. If there is something meanwhile, it does nothing.
func (s *Store) unpoint(ctx context.Context, n stream.Name, f found) error {
	answer, err := s.run(ctx, streamScripts.void, f.to, n.Key(), f.pointer, voidFor.Milliseconds())
	if err != nil || answer.Text(0) != "" {
		return err
	}
	return s.dropPointer(ctx, n, f)
}

// dropPointer removes a pointer, unless there is another one.
func (s *Store) dropPointer(ctx context.Context, n stream.Name, f found) error {
	_, err := s.write(ctx, s.partition(n.Key()), "", change{name: n, raw: [2]rawPointer{rawPointer(f.pointer), ""}})
	return err
}

// DeleteStream implements stream.Store.
func (s *Store) DeleteStream(ctx context.Context, n stream.Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	key := n.Key()
	if err := s.changing.lock(bound, key); err != nil {
		return failed(ctx, err)
	}
	defer s.changing.unlock(key)
	for i := range attempts {
		f, err := s.find(bound, n)
		if err == nil && f.k == nil {
			err = stream.ErrNotFound
		}
		if err == nil {
			err = f.k.Lost(f.now)
		}
		if err == nil {
			err = s.remove(bound, n, f)
		}
		if !errors.Is(err, errConflict) {
			return streamAnswer(ctx, err)
		}
		if err := pause(bound, i); err != nil {
			return failed(ctx, err)
		}
	}
	return failed(ctx, errContended)
}

// remove forgets a stream, or keeps it for its forks only, and forgets those that were kept for it.
// errConflict: one of them has been changed meanwhile.
func (s *Store) remove(ctx context.Context, n stream.Name, f found) error {
	k := f.k
	if k.Forks > 0 {
		is := k.Stream
		is.Deleted = true
		next, _ := s.next(k, is, nil)
		done, err := s.write(ctx, k.partition, "", change{name: n, was: k, is: next, told: true})
		return errors.Join(err, conflictUnless(done || err != nil))
	}
	if f.pointer != "" {
		// If this process dies, the sweep removes it, unless the server has no memory for that.
		look := goredis.Z{Score: float64(micros(f.now.Add(pointerLook))), Member: n.Key()}
		if err := s.client.ZAdd(ctx, s.tags[s.partition(n.Key())]+"y:due", look).Err(); err != nil && !link.Full(err) {
			return err
		}
	}
	changes := []change{{name: n, was: k, stored: -int64(k.Tail - k.own()), told: true}}
	for from := k; from.Fork != nil; {
		source := from.Fork.From
		value, _, err := s.look(ctx, k.partition, source.Key())
		if err != nil {
			return err
		}
		if value == "" {
			return errConflict
		}
		root, err := s.streamRecordOf(source.Key(), value, k.partition)
		if err != nil {
			return err
		}
		if root.Deleted && root.Forks == 1 {
			changes = append(changes, change{name: source, was: root, stored: -int64(root.Tail - root.own())})
			from = root
			continue
		}
		is := root.Stream
		is.Forks--
		next, _ := s.next(root, is, nil)
		changes = append(changes, change{name: source, was: root, is: next})
		break
	}
	done, err := s.write(ctx, k.partition, "", changes...)
	if err != nil || !done {
		return errors.Join(err, conflictUnless(done || err != nil))
	}
	if f.pointer != "" {
		_ = s.dropPointer(ctx, n, f) // else the sweep does
	}
	return nil
}

// sweepStream looks at a stream that is due, or at a pointer. It reports whether it forgot one.
func (s *Store) sweepStream(ctx context.Context, partition int, key string) (bool, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	n, ok := stream.ParseKey(key)
	if !ok {
		return false, failed(ctx, s.client.ZRem(bound, s.tags[partition]+"y:due", key).Err())
	}
	if err := s.changing.lock(bound, key); err != nil {
		return false, failed(ctx, err)
	}
	defer s.changing.unlock(key)
	for i := range attempts {
		forgot, err := s.sweepNamed(bound, partition, n)
		if !errors.Is(err, errConflict) {
			return forgot, failed(ctx, err)
		}
		if err := pause(bound, i); err != nil {
			return false, failed(ctx, err)
		}
	}
	return false, failed(ctx, errContended)
}

// sweepNamed is sweepStream, once. errConflict: others were faster.
func (s *Store) sweepNamed(ctx context.Context, partition int, n stream.Name) (bool, error) {
	f, err := s.find(ctx, n)
	if isA[*lifecycle.DamageError](err) { // it was told, and the others go on
		again := goredis.Z{Score: float64(micros(s.Now().Add(damagedAgain))), Member: n.Key()}
		return false, s.client.ZAddXX(ctx, s.tags[partition]+"y:due", again).Err()
	}
	if err != nil {
		return false, err
	}
	switch {
	case f.k == nil && f.pointer != "":
		return false, s.unpoint(ctx, n, f)
	case f.k != nil && f.k.partition == partition && !f.k.Deleted:
		if due := f.k.Due(); !due.IsZero() && !f.now.Before(due) {
			err := s.remove(ctx, n, f)
			return err == nil, err
		}
	}
	return false, s.settleDue(ctx, partition, n.Key(), f)
}

// settleDue has the index of a partition say when a stream is due, by what was found.
func (s *Store) settleDue(ctx context.Context, partition int, key string, f found) error {
	token, due := "", ""
	switch {
	case f.k != nil && f.k.partition == partition:
		token = f.k.token()
		if at := f.k.Due(); !at.IsZero() && !f.k.Deleted {
			due = strconv.FormatInt(micros(at), 10)
		}
	case f.pointer != "" && s.partition(key) == partition:
		token = f.pointer // there is what it points at
	}
	_, err := s.run(ctx, streamScripts.due, partition, key, token, due)
	return err
}
