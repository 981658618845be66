package redis

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
)

var (
	// errSource: a fork cannot be without its source.
	errSource   = errors.New("what it was forked from is damaged")
	errUnspoken = errors.New("it knows nothing of its output, as if an older version had written it")
)

// stream writes one of a partition. One of which a byte is damaged is left out, and so are those
// that were forked from it: a stream never has other bytes at an offset than it had.
func (e *exporter) stream(partition int, _, key string) error {
	if key == streamsDue {
		return nil
	}
	n, ok := stream.ParseKey(key)
	if !ok {
		return e.lost(e.s.damaged("", "the name of a stream", errStream))
	}
	k, err := e.wholeStream(partition, n)
	if errors.Is(err, stream.ErrNotFound) { // a pointer, or it was forgotten meanwhile
		return nil
	}
	if isA[*lifecycle.DamageError](err) {
		return e.lost(err)
	}
	if err != nil {
		return err
	}
	if err := e.emit(transfer.Line{Kind: transfer.Stream, Channel: key, Stream: (*transfer.StreamRecord)(&k.Stream)}); err != nil {
		return err
	}
	return e.streamBytes(n, k, func(from uint64, p []byte) error {
		return e.emit(transfer.Line{Kind: transfer.Bytes, Offset: from, Data: p})
	})
}

// streamBytes reads all bytes that are a stream's own, in pieces.
func (e *exporter) streamBytes(n stream.Name, k *streamRecord, tell func(from uint64, p []byte) error) error {
	for from := k.own(); from < k.Tail; {
		p := make([]byte, min(codec.BodyChunk, k.Tail-from))
		read, err := e.s.readOwn(e.ctx, n.Key(), k, p, from)
		if err != nil {
			return err
		}
		if err := tell(from, p[:read]); err != nil {
			return err
		}
		from += uint64(read)
	}
	return nil
}

// wholeStream returns a stream of a partition, if all of it can be read, and of all that it was
// forked from.
func (e *exporter) wholeStream(partition int, n stream.Name) (*streamRecord, error) {
	key := n.Key()
	value, _, err := e.s.look(e.ctx, partition, key)
	if err != nil {
		return nil, err
	}
	if _, _, pointer := e.s.pointerOf(value); value == "" || pointer {
		return nil, stream.ErrNotFound
	}
	k, err := e.s.streamRecordOf(key, value, partition)
	if err != nil {
		return nil, err
	}
	if whole, seen := e.streams[key]; seen {
		if !whole {
			err = e.s.damaged("", "stream "+strconv.Quote(key), errSource)
		}
		return k, err
	}
	if k.Fork != nil {
		if _, err = e.wholeStream(partition, k.Fork.From); err != nil {
			err = e.s.damaged("", "stream "+strconv.Quote(key), errSource)
		}
	}
	if err == nil && n.Output() {
		var v view
		if v, err = e.s.see(e.ctx, n, true); err == nil && v.r == nil {
			return nil, stream.ErrNotFound
		}
		if err == nil && !v.r.HasOutput {
			err = e.s.damaged(v.r.ID, "the record", errUnspoken)
		}
	}
	if err == nil {
		err = e.streamBytes(n, k, func(uint64, []byte) error { return nil })
	}
	if e.streams == nil {
		e.streams = make(map[string]bool)
	}
	e.streams[key] = err == nil
	return k, err
}

// imported is a stream that is being taken in. What is known of it is stored when all its bytes
// are.
type imported struct {
	name  stream.Name
	k     *streamRecord
	end   uint64  // of the bytes that have come
	owner string  // who takes its bytes
	of    *record // whose output it is; nil: it is none
}

// addStream takes in a stream without its bytes. Its request, if it is the output of one, was taken
// in before.
//
// A fork goes where its root lives, as far as that is known by what came before. One whose source
// turns out to be a fork itself is moved when all have come.
func (i *importer) addStream(l *transfer.Line) error {
	n, ok := stream.ParseKey(l.Channel)
	if !ok || l.Stream == nil {
		return errLine
	}
	k := &streamRecord{Stream: stream.Stream(*l.Stream), tokens: i.s.streamToken()}
	in := &imported{name: n, k: k, end: k.own(), owner: n.Owner}
	if n.Output() {
		if in.of = i.spoken[n.Path]; in.of == nil {
			return fmt.Errorf("it is of a request that has none: %w", errLine)
		}
		in.owner = in.of.Owner
	}
	k.partition = i.s.streamHome(n)
	if k.Fork != nil {
		if i.forks == nil {
			i.forks = make(map[stream.Name]fork)
		}
		k.partition = i.s.streamHome(i.rootOf(k.Fork.From))
		i.forks[n] = fork{k.Fork.From, k.partition}
	}
	i.stream = in
	return i.sent(0)
}

// fork is where one comes from, and was put.
type fork struct {
	from      stream.Name
	partition int
}

// rootOf is the stream that one comes from in the end, as far as it is known.
func (i *importer) rootOf(n stream.Name) stream.Name {
	for range math.MaxInt16 { // a circle would be none that was exported
		f, ok := i.forks[n]
		if !ok {
			break
		}
		n = f.from
	}
	return n
}

// addBytes takes in bytes of the stream before.
func (i *importer) addBytes(l *transfer.Line) error {
	in := i.stream
	if in == nil || l.Offset != in.end || in.end+uint64(len(l.Data)) > in.k.Tail {
		return errLine
	}
	tag, key := i.s.tags[in.k.partition], in.name.Key()
	i.pipe.Append(i.ctx, tag+"d:"+key, string(l.Data))
	if sums := in.k.add(in.end-in.k.own(), l.Data); len(sums) > 0 {
		i.pipe.Append(i.ctx, tag+"z:"+key, string(sums))
	}
	in.end += uint64(len(l.Data))
	return i.sent(len(l.Data))
}

// closeStream stores what is known of the stream whose bytes have come.
func (i *importer) closeStream() {
	in := i.stream
	if in == nil {
		return
	}
	i.stream = nil
	k, key := in.k, in.name.Key()
	tag := i.s.tags[k.partition]
	i.pipe.Set(i.ctx, tag+"y:"+key, k.encode(), 0)
	if due := k.Due(); !due.IsZero() && !k.Deleted {
		i.pipe.ZAdd(i.ctx, tag+"y:due", goredis.Z{Score: float64(micros(due)), Member: key})
	}
	if own := int64(k.Tail - k.own()); own > 0 {
		i.pipe.HIncrBy(i.ctx, tag+"use:"+in.owner, "b", own)
	}
	if in.of != nil {
		for _, kind := range []string{"y:", "d:", "z:"} {
			i.expireOf(in.of, tag+kind+key)
		}
	}
	i.size += 512
}

// settleForks moves forks to where they live, and has their names point there.
func (i *importer) settleForks() error {
	if len(i.s.tags) == 1 {
		return nil
	}
	for n, f := range i.forks {
		to := i.s.streamHome(i.rootOf(n))
		if f.partition != to {
			if err := i.moveStream(n, f.partition, to); err != nil {
				return err
			}
		}
		if home := i.s.streamHome(n); home != to {
			pointer := i.s.streamToken() + string(pointerSign) + strconv.Itoa(to)
			if err := i.s.client.Set(i.ctx, i.s.tags[home]+"y:"+n.Key(), pointer, 0).Err(); err != nil {
				return failed(i.ctx, err)
			}
		}
	}
	return nil
}

// moveStream moves a stream to another partition.
func (i *importer) moveStream(n stream.Name, from, to int) error {
	key, client := n.Key(), i.s.client
	old, tag := i.s.tags[from], i.s.tags[to]
	value, _, err := i.s.look(i.ctx, from, key)
	if err != nil {
		return failed(i.ctx, err)
	}
	k, err := i.s.streamRecordOf(key, value, from)
	if err != nil {
		return err
	}
	size := int64(k.Tail - k.own())
	for _, kind := range []string{"d:", "z:"} {
		for at := int64(0); ; at += importBytes {
			part, err := client.GetRange(i.ctx, old+kind+key, at, at+importBytes-1).Result()
			if err != nil {
				return failed(i.ctx, err)
			}
			if part == "" {
				break
			}
			if err := client.Append(i.ctx, tag+kind+key, part).Err(); err != nil {
				return failed(i.ctx, err)
			}
		}
	}
	i.pipe.Set(i.ctx, tag+"y:"+key, value, 0)
	if due := k.Due(); !due.IsZero() && !k.Deleted {
		i.pipe.ZAdd(i.ctx, tag+"y:due", goredis.Z{Score: float64(micros(due)), Member: key})
	}
	i.pipe.HIncrBy(i.ctx, tag+"use:"+n.Owner, "b", size)
	i.pipe.HIncrBy(i.ctx, old+"use:"+n.Owner, "b", -size)
	i.pipe.Unlink(i.ctx, old+"y:"+key, old+"d:"+key, old+"z:"+key)
	i.pipe.ZRem(i.ctx, old+"y:due", key)
	return i.flush()
}
