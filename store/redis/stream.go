package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
)

var _ stream.Store = (*Store)(nil)

// What may become of a stream is decided in this process, on what is known of it, and a script
// stores the outcome if that has not been changed meanwhile. Those of one name take turns within
// the process.

// streamRecord is what is stored of a stream beside its bytes: its value of y:.
type streamRecord struct {
	stream.Stream
	// The token of the last write, and behind it those of writes before: whoever does not know
	// whether his was made looks for it there. A token begins with a name of the process that
	// wrote, see nameSize. Each process keeps ownTokens of its own, so that one that writes often
	// does not drive out those of others; there are keptTokens in all.
	tokens string
	sum    uint32 // of the bytes behind the last whole chunk of its own

	partition int
}

// streamsDue is the index of streams by when they are due, where others have what is known of one.
const streamsDue = "due"

const (
	keptTokens = 8
	ownTokens  = 3
	nameSize   = 6
)

// own is the position at which the bytes begin that it does not have of another stream.
func (k *streamRecord) own() uint64 {
	if k.Fork == nil {
		return 0
	}
	return k.Fork.At
}

// token is that of the last write.
func (k *streamRecord) token() string {
	if k == nil {
		return ""
	}
	return k.tokens[:tokenSize]
}

// streamToken names one write of a stream by this process.
func (s *Store) streamToken() string { return s.name[:nameSize] + newToken()[nameSize:] }

// next returns what is stored when a stream has become another by a write of this process, with
// bytes behind what it had, and the sums of the chunks of its own that are whole with them.
func (s *Store) next(k *streamRecord, is stream.Stream, bytes []byte) (next *streamRecord, sums []byte) {
	next = &streamRecord{Stream: is, tokens: s.streamToken()}
	length := uint64(0)
	if k != nil {
		next.partition, next.sum, length = k.partition, k.sum, k.Tail-k.own()
		own := 1
		for rest := k.tokens; rest != "" && len(next.tokens) < keptTokens*tokenSize; rest = rest[tokenSize:] {
			if strings.HasPrefix(rest, s.name[:nameSize]) {
				own++
				if own > ownTokens {
					continue
				}
			}
			next.tokens += rest[:tokenSize]
		}
	}
	return next, next.add(length, bytes)
}

// add adds bytes of its own to the sum of a stream that has a number of them already, and returns
// the sums of the chunks that are whole with them.
func (k *streamRecord) add(length uint64, bytes []byte) (sums []byte) {
	for len(bytes) > 0 {
		n := min(len(bytes), int(codec.BodyChunk-length%codec.BodyChunk))
		k.sum = crc32.Update(k.sum, castagnoli, bytes[:n])
		length, bytes = length+uint64(n), bytes[n:]
		if length%codec.BodyChunk == 0 {
			sums = binary.BigEndian.AppendUint32(sums, k.sum)
			k.sum = 0
		}
	}
	return sums
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errStream = errors.New("what is known of it is not what was stored")

// encode is the value of y:: the tokens, a line feed, the sum of what follows, that of the bytes,
// and what codec.AppendStream writes.
func (k *streamRecord) encode() string {
	value := make([]byte, 0, 256)
	value = append(append(value, k.tokens...), '\n')
	at := len(value)
	value = append(value, 0, 0, 0, 0)
	value = binary.BigEndian.AppendUint32(value, k.sum)
	value = codec.AppendStream(value, &k.Stream)
	binary.BigEndian.PutUint32(value[at:], crc32.Checksum(value[at+4:], castagnoli))
	return string(value)
}

func decodeStreamRecord(value string, partition int) (*streamRecord, error) {
	tokens, rest, ok := strings.Cut(value, "\n")
	if !ok || len(tokens) == 0 || len(tokens)%tokenSize != 0 || len(rest) < 8 {
		return nil, errStream
	}
	raw := []byte(rest[:8])
	if binary.BigEndian.Uint32(raw) != crc32.Checksum([]byte(rest[4:]), castagnoli) {
		return nil, errStream
	}
	k := &streamRecord{tokens: tokens, sum: binary.BigEndian.Uint32(raw[4:]), partition: partition}
	return k, codec.DecodeStream(rest[8:], &k.Stream)
}

// streamRecordOf is decodeStreamRecord, and tells of damage.
func (s *Store) streamRecordOf(key, value string, partition int) (*streamRecord, error) {
	k, err := decodeStreamRecord(value, partition)
	if err != nil {
		return nil, s.damaged("", "stream "+strconv.Quote(key), err)
	}
	return k, nil
}

// A fork lives where its root does. If that is another partition than the one of its name, there is
// a pointer in that: a token, an at sign, and the number of the other partition. It is written
// before the fork is made, which fails if the token was declared void meanwhile, and removed after
// the fork. Whoever finds one that points at nothing declares its token void before he takes the
// name; so does the sweep, which looks at a pointer that was written, or is to be removed, a minute
// later.
const pointerSign = '@'

// pointerOf reads a pointer; ok is false for what is none.
func (s *Store) pointerOf(value string) (token string, to int, ok bool) {
	if len(value) <= tokenSize || value[tokenSize] != pointerSign {
		return "", 0, false
	}
	to, err := strconv.Atoi(value[tokenSize+1:])
	return value[:tokenSize], to, err == nil && to >= 0 && to < len(s.tags)
}

// found is what there is of a stream of a caller's own under a name, at a time.
type found struct {
	now     time.Time
	k       *streamRecord // nil: nothing
	pointer string        // the token of the pointer that stands where the name lives; "": none
	to      int           // where that points
}

// look reads the value of y: in a partition, "" for none.
func (s *Store) look(ctx context.Context, partition int, key string) (string, time.Time, error) {
	ahead := s.ahead.Load()
	answer, err := s.run(ctx, streamScripts.look, partition, ahead, key)
	if err != nil {
		return "", time.Time{}, err
	}
	at, err := answer.Number(0)
	now := time.UnixMicro(at).UTC()
	if err == nil {
		s.clock.Set(now, ahead)
	}
	return answer.Text(1), now, err
}

// find looks for a stream of a caller's own.
func (s *Store) find(ctx context.Context, n stream.Name) (f found, err error) {
	key := n.Key()
	home := s.partition(key)
	value, now, err := s.look(ctx, home, key)
	if err != nil {
		return f, err
	}
	f.now = now
	if token, to, ok := s.pointerOf(value); ok {
		f.pointer, f.to = token, to
		if value, f.now, err = s.look(ctx, to, key); err != nil {
			return f, err
		}
		home = to
	}
	if value != "" {
		f.k, err = s.streamRecordOf(key, value, home)
	}
	return f, err
}

// view is what is known of a stream in this process, and of an output's request, at some time.
type view struct {
	now   time.Time
	k     *streamRecord // nil: there is none
	r     *record       // of an output; nil: it is not there
	fresh bool          // it was just read
}

// see returns what is known of a stream; as it was seen last if it need not be fresh.
func (s *Store) see(ctx context.Context, n stream.Name, fresh bool) (v view, err error) {
	key := n.Key()
	if now, ok := s.clock.Recent(s.ahead.Load()); ok && !fresh {
		if k := s.streams.get(key); k != nil {
			v = view{now: now, k: k}
			if !n.Output() {
				return v, nil
			}
			if v.r = s.recent.get(lifecycle.ParseRef(n.Path).ID); v.r != nil {
				return v, nil
			}
		}
	}
	v.fresh = true
	if !n.Output() {
		f, err := s.find(ctx, n)
		v.now, v.k = f.now, f.k
		return v, err
	}
	of := lifecycle.ParseRef(n.Path)
	partition := s.partition(of.ID)
	p, err := s.snapshot(ctx, of.ID, "", countNothing, "")
	if err != nil {
		return v, err
	}
	if v.now = p.now; p.r != nil && of.Of(&p.r.Request) {
		v.r = p.r
		s.recent.put(p.r)
	}
	value, _, err := s.look(ctx, partition, key)
	if err == nil && value != "" {
		v.k, err = s.streamRecordOf(key, value, partition)
	}
	return v, err
}

// resolve names the life of an output that was named without.
func (s *Store) resolve(ctx context.Context, n stream.Name) (stream.Name, error) {
	if !n.Output() || lifecycle.ParseRef(n.Path).Life != lifecycle.AnyLife {
		return n, nil
	}
	r, _, err := s.load(ctx, lifecycle.ParseRef(n.Path))
	if err == nil && r == nil {
		return n, lifecycle.ErrNoOutput
	}
	if err != nil {
		return n, err
	}
	return lifecycle.OutputName(r.Ref()), nil
}

// streamAnswer is failed, except for what a call of a stream is answered with.
func streamAnswer(ctx context.Context, err error) error {
	for _, known := range []error{
		stream.ErrNotFound, stream.ErrGone, stream.ErrConflict, stream.ErrType, stream.ErrSeq, stream.ErrEmpty, stream.ErrJSON,
		stream.ErrOffset, stream.ErrEpoch, lifecycle.ErrNotFound,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch {
	case isA[*stream.ClosedError](err), isA[*stream.StaleError](err), isA[*stream.GapError](err), isA[*stream.SizeError](err), isA[*lifecycle.TransitionError](err):
		return err
	}
	return failed(ctx, err)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// recentStreams are streams that this process has appended to lately. Whoever appends again needs
// not read what is known of one first: a script that finds something else refuses, and answers with
// that. The zero value is ready.
type recentStreams struct {
	mu         sync.Mutex
	young, old map[string]*streamRecord
}

// get returns what is known of a stream, nil if nothing is. Nobody changes it.
func (c *recentStreams) get(key string) *streamRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.young[key]; k != nil {
		return k
	}
	return c.old[key]
}

func (c *recentStreams) put(key string, k *streamRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= recentMost {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[string]*streamRecord)
	}
	c.young[key] = k
}

func (c *recentStreams) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
}

// age forgets what was not put since the call before.
func (c *recentStreams) age() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old, c.young = c.young, nil
}
