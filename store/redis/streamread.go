package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
)

// StreamState implements stream.Store.
func (s *Store) StreamState(ctx context.Context, n stream.Name, touch bool) (stream.Stream, error) {
	if err := ctx.Err(); err != nil {
		return stream.Stream{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	is, _, now, err := s.state(bound, n)
	if err == nil && touch && !n.Output() && is.Touch(now) {
		is, err = s.touch(bound, n)
	}
	return is, streamAnswer(ctx, err)
}

// state returns a stream that is there as it is now, and what is stored of it, which of an output
// may be nothing.
func (s *Store) state(ctx context.Context, n stream.Name) (is stream.Stream, k *streamRecord, now time.Time, err error) {
	if n, err = s.resolve(ctx, n); err != nil {
		return is, nil, now, err
	}
	if !n.Output() {
		f, err := s.find(ctx, n)
		if err == nil && f.k == nil {
			err = stream.ErrNotFound
		}
		if err == nil {
			err = f.k.Lost(f.now)
		}
		if err != nil {
			return is, nil, f.now, err
		}
		return f.k.Stream, f.k, f.now, nil
	}
	of, key := lifecycle.ParseRef(n.Path), n.Key()
	partition := s.partition(of.ID)
	var record, value *goredis.StringCmd
	if err := s.client.Send(ctx, func(p goredis.Pipeliner) {
		// In this order: what has ended is not appended to any more.
		record, value = p.Get(ctx, s.tags[partition]+"r:"+of.ID), p.Get(ctx, s.tags[partition]+"y:"+key)
	}); err != nil {
		return is, nil, now, err
	}
	text, err := orNothing(record)
	if err != nil {
		return is, nil, now, err
	}
	if text == "" {
		return is, nil, now, lifecycle.ErrNoOutput
	}
	r, err := s.record(of.ID, text)
	if err != nil {
		return is, nil, now, err
	}
	if !of.Of(&r.Request) {
		return is, nil, now, lifecycle.ErrNoOutput
	}
	is = stream.NewOutput(n)
	if text, err = orNothing(value); err != nil {
		return is, nil, now, err
	}
	if text != "" {
		if k, err = s.streamRecordOf(key, text, partition); err != nil {
			return is, nil, now, err
		}
		is = k.Stream
	}
	return lifecycle.OutputOf(&r.Request, is), k, now, nil
}

// orNothing is what a command has found, "" if that is nothing.
func orNothing(c *goredis.StringCmd) (string, error) {
	text, err := c.Result()
	if errors.Is(err, goredis.Nil) {
		return "", nil
	}
	return text, err
}

// touch lets the time of a stream begin anew.
func (s *Store) touch(ctx context.Context, n stream.Name) (stream.Stream, error) {
	key := n.Key()
	if err := s.changing.lock(ctx, key); err != nil {
		return stream.Stream{}, err
	}
	defer s.changing.unlock(key)
	for i := range attempts {
		is, k, now, err := s.state(ctx, n)
		if err != nil || !is.Touch(now) { // somebody else has
			return is, err
		}
		is.Touched = now
		next, _ := s.next(k, is, nil)
		done, err := s.write(ctx, k.partition, "", change{name: n, was: k, is: next})
		if err != nil || done {
			return is, err
		}
		if err := pause(ctx, i); err != nil {
			return is, err
		}
	}
	return stream.Stream{}, errContended
}

// ReadStream implements stream.Store.
func (s *Store) ReadStream(ctx context.Context, n stream.Name, p []byte, from uint64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	count, err := s.readStream(bound, n, p, from)
	return count, streamAnswer(ctx, err)
}

func (s *Store) readStream(ctx context.Context, n stream.Name, p []byte, from uint64) (int, error) {
	if n.Output() {
		return s.readOutput(ctx, n, p, from)
	}
	_, k, _, err := s.state(ctx, n)
	if err != nil {
		return 0, err
	}
	return s.readOwn(ctx, n.Key(), k, p, from)
}

// readOutput reads in one round trip: an output has all its bytes itself, and is there as long as
// what was submitted.
func (s *Store) readOutput(ctx context.Context, n stream.Name, p []byte, from uint64) (int, error) {
	n, err := s.resolve(ctx, n)
	if err != nil {
		return 0, err
	}
	key, partition := n.Key(), s.partition(lifecycle.ParseRef(n.Path).ID)
	var there *goredis.IntCmd
	var value *goredis.StringCmd
	piece := pieceOf(from, from+uint64(len(p)))
	if err := s.client.Send(ctx, func(pipe goredis.Pipeliner) {
		there = pipe.Exists(ctx, s.tags[partition]+"i:"+n.Path)
		value = pipe.Get(ctx, s.tags[partition]+"y:"+key)
		piece.ask(ctx, pipe, s.tags[partition], key)
	}); err != nil {
		return 0, err
	}
	if exists, err := there.Result(); err != nil || exists == 0 {
		if err == nil {
			err = lifecycle.ErrNoOutput
		}
		return 0, err
	}
	text, err := orNothing(value)
	if err != nil || text == "" {
		return 0, err
	}
	k, err := s.streamRecordOf(key, text, partition)
	if err != nil {
		return 0, err
	}
	return s.takePiece(key, k, piece, p, from)
}

// readOwn reads from a position of a stream on, through those that it was forked from.
func (s *Store) readOwn(ctx context.Context, key string, k *streamRecord, p []byte, from uint64) (n int, err error) {
	if from >= k.Tail || len(p) == 0 {
		return 0, nil
	}
	p = p[:min(uint64(len(p)), k.Tail-from)]
	own := k.own()
	if from < own {
		source := k.Fork.From.Key()
		value, _, err := s.look(ctx, k.partition, source)
		if err != nil {
			return 0, err
		}
		root, err := s.streamRecordOf(source, value, k.partition)
		if err != nil {
			return 0, err
		}
		if n, err = s.readOwn(ctx, source, root, p[:min(uint64(len(p)), own-from)], from); err != nil || n == len(p) {
			return n, err
		}
		from += uint64(n)
	}
	piece := pieceOf(from-own, from-own+uint64(len(p)-n))
	if err := s.client.Send(ctx, func(pipe goredis.Pipeliner) { piece.ask(ctx, pipe, s.tags[k.partition], key) }); err != nil {
		return 0, err
	}
	more, err := s.takePiece(key, k, piece, p[n:], from)
	return n + more, err
}

// piece is what is read of a stream's own bytes: whole chunks, so that they can be held against
// their sums.
type piece struct {
	from, to    uint64 // in its own bytes
	bytes, sums *goredis.StringCmd
}

func pieceOf(from, to uint64) *piece {
	const chunk = codec.BodyChunk
	return &piece{from: from / chunk * chunk, to: (to + chunk - 1) / chunk * chunk}
}

func (x *piece) ask(ctx context.Context, pipe goredis.Pipeliner, tag, key string) {
	first, last := int64(x.from/codec.BodyChunk), int64(x.to/codec.BodyChunk)
	x.bytes = pipe.GetRange(ctx, tag+"d:"+key, int64(x.from), int64(x.to)-1)
	x.sums = pipe.GetRange(ctx, tag+"z:"+key, 4*first, 4*last-1)
}

// takePiece fills p with the bytes of a stream from a position on. What was appended since k was
// read is left out.
func (s *Store) takePiece(key string, k *streamRecord, x *piece, p []byte, from uint64) (int, error) {
	data, err := x.bytes.Result()
	if err != nil {
		return 0, err
	}
	sums, err := x.sums.Result()
	if err != nil {
		return 0, err
	}
	if from >= k.Tail || len(p) == 0 {
		return 0, nil
	}
	length := k.Tail - k.own()
	if end := min(x.to, length); uint64(len(data)) < end-x.from {
		return 0, s.damagedBytes(key)
	}
	data = data[:min(x.to, length)-x.from]
	for at := 0; at < len(data); at += codec.BodyChunk {
		chunk, sum := data[at:min(at+codec.BodyChunk, len(data))], k.sum
		if x.from+uint64(at)+codec.BodyChunk <= length {
			n := at / codec.BodyChunk * 4
			if n+4 > len(sums) {
				return 0, s.damagedBytes(key)
			}
			sum = binary.BigEndian.Uint32([]byte(sums[n : n+4]))
		}
		if crc32.Checksum([]byte(chunk), castagnoli) != sum {
			return 0, s.damagedBytes(key)
		}
	}
	return copy(p, data[from-k.own()-x.from:]), nil
}

func (s *Store) damagedBytes(key string) error {
	return s.damaged("", "a piece of stream "+strconv.Quote(key), codec.ErrSum)
}

// readChannel is Read of a stream.
func (s *Store) readChannel(ctx context.Context, n stream.Name, after uint64, limit int) (lifecycle.History, error) {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	is, k, _, err := s.state(bound, n)
	if errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrGone) {
		return lifecycle.NoStream(after, limit), nil
	}
	if err != nil {
		return lifecycle.History{}, streamAnswer(ctx, err)
	}
	h, err := lifecycle.StreamHistory(&is, after, limit, func(p []byte, from uint64) (int, error) {
		return s.readOwn(bound, n.Key(), k, p, from)
	})
	if err != nil {
		return lifecycle.History{}, streamAnswer(ctx, err)
	}
	s.noteStream(n, k)
	return h, nil
}

// resetChannel is Reset of a stream.
func (s *Store) resetChannel(ctx context.Context, n stream.Name) (lifecycle.Message, error) {
	is, err := s.StreamState(ctx, n, false)
	if err != nil {
		return lifecycle.Message{}, err
	}
	return lifecycle.StreamGone(&is), nil
}
