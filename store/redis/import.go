package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // it names, as the scripts do by redis.sha1hex
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// importing is what stands in the place of the format while an import is under way, so that nobody
// opens half of one.
const importing = "hark-importing"

// Import makes a store in Redis of what another one held. Nothing may be under its prefix yet, and
// nothing is left of an import that fails, unless Redis is away then.
func Import(ctx context.Context, url string, o Options, lines iter.Seq2[transfer.Line, error]) (err error) {
	s, err := Open(ctx, url, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	meta := s.options.Prefix + ":meta"
	for _, tag := range s.tags {
		names, err := s.client.Names(ctx, tag)
		if err != nil {
			return failed(ctx, err)
		}
		if len(names) > 0 {
			return fmt.Errorf("there is something under %s already, like %s: nothing was changed. Choose another prefix, or remove it", tag, names[0])
		}
	}
	if err := s.client.HSet(ctx, meta, "format", importing).Err(); err != nil {
		return failed(ctx, err)
	}
	i := importer{s: s, ctx: ctx, pipe: s.client.Pipeline(), clock: make([]uint64, len(s.tags))}
	if err := i.all(lines); err != nil {
		return errors.Join(err, s.clear(ctx), s.client.Del(ctx, meta).Err())
	}
	return failed(ctx, s.client.HSet(ctx, meta, "format", "hark").Err())
}

// clear removes all of a store but for its meta.
func (s *Store) clear(ctx context.Context) error {
	for _, tag := range s.tags {
		names, err := s.client.Names(ctx, tag)
		if err != nil {
			return failed(ctx, err)
		}
		for _, name := range names {
			if err := s.client.Unlink(ctx, tag+name).Err(); err != nil {
				return failed(ctx, err)
			}
		}
	}
	return nil
}

// importer takes lines in.
type importer struct {
	s    *Store
	ctx  context.Context
	pipe goredis.Pipeliner
	size int

	clock []uint64 // the highest number of each partition

	request  *record
	feed     string
	top      uint64
	last     uint64 // the offset of the entry before
	time     int64  // of the event before, in µs
	endpoint *dispatch.Endpoint
	number   string
	order    int
	stream   *imported
	spoken   map[string]*record // requests that have an output, by their name
	forks    map[stream.Name]fork
}

// importBytes is how much is sent at a time.
const importBytes = 1 << 20

var errLine = errors.New("something that belongs to it is missing, or comes too late")

func (i *importer) all(lines iter.Seq2[transfer.Line, error]) error {
	if err := transfer.Each(lines, i.line); err != nil {
		return err
	}
	i.closeFeed()
	i.closeStream()
	if err := i.flush(); err != nil {
		return err
	}
	if err := i.settleForks(); err != nil {
		return err
	}
	for partition, n := range i.clock {
		if n > 0 {
			i.pipe.Set(i.ctx, i.s.tags[partition]+"clock", fmt.Sprintf("%016d", n), 0)
		}
	}
	return i.flush()
}

// sent counts what is to be sent, and sends it when it is enough.
func (i *importer) sent(bytes int) error {
	if i.size += bytes + 256; i.size < importBytes {
		return nil
	}
	return i.flush()
}

func (i *importer) flush() error {
	i.size = 0
	_, err := i.pipe.Exec(i.ctx)
	return failed(i.ctx, err)
}

func (i *importer) line(l *transfer.Line) error {
	if l.Kind != transfer.Entry {
		i.closeFeed()
	}
	if l.Kind != transfer.Bytes {
		i.closeStream()
	}
	switch l.Kind {
	case transfer.Request:
		return i.addRequest(l)
	case transfer.Content:
		return i.addContent(l)
	case transfer.Event:
		return i.addEvent(l)
	case transfer.Key:
		return i.addKey(l)
	case transfer.Feed:
		return i.addFeed(l)
	case transfer.Entry:
		return i.addEntry(l)
	case transfer.Endpoint:
		return i.addEndpoint(l)
	case transfer.Delivery:
		return i.addDelivery(l)
	case transfer.Stream:
		return i.addStream(l)
	case transfer.Bytes:
		return i.addBytes(l)
	case transfer.Floor:
		for _, tag := range i.s.tags { // whichever has a feed
			i.pipe.Set(i.ctx, tag+"floor", l.Offset, 0)
		}
		return i.sent(0)
	case transfer.Kept:
		i.pipe.Set(i.ctx, i.s.tags[i.s.partition(l.ID)]+"w:kept:"+l.ID, l.Data, 0)
		return i.sent(len(l.Data))
	default:
		return errors.New("this program knows no such kind: use a newer one")
	}
}

func (i *importer) tag(id string) string { return i.s.tags[i.s.partition(id)] }

// rise lets the clock of a partition go on behind n.
func (i *importer) rise(partition int, n uint64) {
	i.clock[partition] = max(i.clock[partition], n)
}

// expire lets Redis drop a key of an ended request by itself, some time after its retention.
func (i *importer) expire(key string) { i.expireOf(i.request, key) }

// expireOf is expire for a request that came before.
func (i *importer) expireOf(r *record, key string) {
	if r.Status.Terminal() {
		i.pipe.PExpireAt(i.ctx, key, r.ExpiresAt.Add(i.s.options.Margin))
	}
}

func (i *importer) addRequest(l *transfer.Line) error {
	if l.Request == nil || l.Request.ID == "" || l.Serial == 0 || l.Request.Status == lifecycle.Pending && l.Ticket == 0 {
		return errLine
	}
	r := &record{
		Request: lifecycle.Request(*l.Request), token: newToken(), serial: fmt.Sprintf("%016d", l.Serial), ticket: fmt.Sprintf("%016d", max(l.Ticket, l.Serial)),
		queue: queueOf(l.Request.Route, i.s.rank(l.Request.Priority)),
	}
	if r.Status == lifecycle.Pending {
		r.ticket = fmt.Sprintf("%016d", l.Ticket)
	}
	i.request = r
	if r.HasOutput {
		if i.spoken == nil {
			i.spoken = make(map[string]*record)
		}
		i.spoken[r.Ref().String()] = r
	}
	tag, partition := i.tag(r.ID), i.s.partition(r.ID)
	i.rise(partition, max(l.Serial, l.Ticket))
	value := r.append(nil)
	i.pipe.Set(i.ctx, tag+"r:"+r.ID, value, 0)
	i.expire(tag + "r:" + r.ID)
	i.pipe.ZAdd(i.ctx, tag+"own:"+r.Owner, goredis.Z{Score: float64(l.Serial), Member: codec.OwnerEntry(&r.Request)})
	i.pipe.ZAdd(i.ctx, tag+"made:"+r.Route, goredis.Z{Score: float64(micros(r.CreatedAt)), Member: r.ID})
	i.pipe.ZAdd(i.ctx, tag+"made", goredis.Z{Member: r.Route})
	i.pipe.ZAdd(i.ctx, tag+"expiry", goredis.Z{Score: float64(micros(r.ExpiresAt)), Member: r.ID})
	switch r.Status {
	case lifecycle.Pending:
		i.pipe.ZAdd(i.ctx, tag+"pending", goredis.Z{Member: r.member()})
	case lifecycle.Processing, lifecycle.Waiting:
		working := goredis.Z{Member: r.ID}
		if r.Status == lifecycle.Processing && r.Batch == nil {
			working.Score = float64(workingNumber(r.Route))
		}
		i.pipe.ZAdd(i.ctx, tag+"processing", working)
		if r.Status == lifecycle.Waiting {
			i.pipe.HIncrBy(i.ctx, tag+"stand", "w"+r.Route, 1)
		}
		// What is pending gets its slot, or waits for it, when it is to start.
		if r.Concurrency.Limited() {
			i.pipe.SAdd(i.ctx, tag+"c:h:"+r.Lane(), r.Ref().String())
		}
		if r.Concurrency.Route > 0 {
			i.pipe.SAdd(i.ctx, tag+"c:r:"+r.Route, r.Ref().String())
		}
	}
	if u := r.Usage(); u != (lifecycle.Usage{}) {
		i.pipe.HIncrBy(i.ctx, tag+"use:"+r.Owner, "o", u.Open)
		i.pipe.HIncrBy(i.ctx, tag+"use:"+r.Owner, "b", u.Bytes)
		if u.Waiting != 0 {
			i.pipe.HIncrBy(i.ctx, tag+"use:"+r.Owner, "w", u.Waiting)
		}
	}
	if r.Batch == nil && r.Status == lifecycle.Failed {
		i.pipe.ZAdd(i.ctx, tag+"dead:"+r.Route, goredis.Z{Score: float64(micros(r.EndedAt)), Member: r.ID})
		i.pipe.ZAdd(i.ctx, tag+"dead", goredis.Z{Member: r.Route})
	}
	if r.Batch != nil && !r.Status.Terminal() {
		i.pipe.ZAdd(i.ctx, tag+"batches", goredis.Z{Score: float64(micros(r.CreatedAt)), Member: r.ID})
	}
	return i.sent(len(value))
}

func (i *importer) addContent(l *transfer.Line) error {
	part, ok := transfer.PartOf(l.Part)
	if !ok || i.request == nil {
		return errLine
	}
	key := i.tag(i.request.ID) + kindOf(part) + i.request.Ref().String()
	value := codec.SealBody(lifecycle.Content{Type: l.Type, Data: l.Data})
	i.pipe.Set(i.ctx, key, value, 0)
	i.expire(key)
	return i.sent(len(value))
}

// addEvent stores an event as clients get it, in the form that layout 1 had.
func (i *importer) addEvent(l *transfer.Line) error {
	r := i.request
	if r == nil || l.Offset == 0 || l.Offset > r.Sequence {
		return errLine
	}
	last := "0"
	if e, ok := codec.ParseEvent([]byte(l.Event)); ok && e.Type.Terminal() {
		last = "1"
	}
	key := i.tag(r.ID) + "e:" + r.Ref().String()
	i.pipe.XAdd(i.ctx, &goredis.XAddArgs{
		Stream: key, ID: strconv.FormatUint(l.Offset, 10) + "-0", Values: []any{"t", newToken(), "l", last, "e", l.Event},
	})
	if l.Offset == r.Sequence {
		i.expire(key)
	}
	return i.sent(len(l.Event))
}

func (i *importer) addKey(l *transfer.Line) error {
	if len(l.Digest) != 32 || l.ID == "" {
		return errLine
	}
	name := base64.RawURLEncoding.EncodeToString(l.Digest)
	key := i.tag(name) + "k:" + name
	fields := []any{"r", l.ID, "v", l.Life, "f", l.Fingerprint, "l", micros(l.Locked), "t", newToken()}
	if l.Locked.IsZero() {
		fields[7] = 0
	}
	if l.Reply != nil {
		reply, err := json.Marshal(l.Reply)
		if err != nil {
			return err
		}
		fields = append(fields, "y", reply)
	}
	i.pipe.HSet(i.ctx, key, fields...)
	i.pipe.PExpire(i.ctx, key, keyMargin)
	return i.sent(512)
}

func (i *importer) addFeed(l *transfer.Line) error {
	c, err := lifecycle.ParseKey(l.Channel)
	if err != nil || !c.Feed() || l.Begun > l.Offset {
		return errors.Join(errLine, err)
	}
	i.feed, i.top, i.last, i.time = l.Channel, l.Offset, l.Begun, 0
	i.pipe.Set(i.ctx, i.tag(i.feed)+"t:"+i.feed, l.Offset, 0)
	i.pipe.ZAddNX(i.ctx, i.tag(i.feed)+"aging", goredis.Z{Score: float64(micros(i.s.Now())), Member: i.feed})
	if l.Begun > 0 {
		i.pipe.RPush(i.ctx, i.tag(i.feed)+"g:"+i.feed, "", "")
	}
	return i.sent(0)
}

func (i *importer) addEntry(l *transfer.Line) error {
	if i.feed == "" || l.Offset <= i.last || l.Offset > i.top {
		return errLine
	}
	tag := i.tag(i.feed)
	if l.Event != "" {
		i.time = micros(transfer.TimeOf(l.Event))
	}
	for i.last > 0 && i.last+1 < l.Offset { // what could not be exported leaves its place
		i.last++
		i.pipe.RPush(i.ctx, tag+"g:"+i.feed, i.time, "")
	}
	i.last = l.Offset
	i.pipe.RPush(i.ctx, tag+"g:"+i.feed, i.time, l.Event)
	return i.sent(len(l.Event))
}

// closeFeed leaves the places of what could not be exported at the end of a feed.
func (i *importer) closeFeed() {
	for ; i.feed != "" && i.last > 0 && i.last < i.top; i.last++ {
		i.pipe.RPush(i.ctx, i.tag(i.feed)+"g:"+i.feed, i.time, "")
	}
	i.feed = ""
}

func (i *importer) addEndpoint(l *transfer.Line) error {
	if l.Endpoint == nil || l.Endpoint.ID == "" {
		return errLine
	}
	e := *l.Endpoint
	partition := i.s.ownerHome(e.Owner)
	tag := i.s.tags[partition]
	if i.clock[partition] > 0 { // its number follows
		i.pipe.Set(i.ctx, tag+"clock", fmt.Sprintf("%016d", i.clock[partition]), 0)
	}
	if err := i.flush(); err != nil {
		return err
	}
	if _, err := i.s.CreateEndpoint(i.ctx, e); err != nil {
		return err
	}
	key := tag + "w:e:" + e.ID
	i.number = i.s.client.HGet(i.ctx, key, "number").Val()
	n, err := strconv.ParseUint(i.number, 10, 64)
	if err != nil {
		return fmt.Errorf("its number: %w", err)
	}
	i.rise(partition, n)
	i.endpoint, i.order = &e, 0
	stamp := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return micros(t)
	}
	fields := []any{"version", e.Version, "created", stamp(e.CreatedAt), "updated", stamp(e.UpdatedAt)}
	if h := l.Health; h != nil {
		fields = append(fields, "failures", h.Failures, "successes", h.Successes, "failing", stamp(h.FailingSince), "succeeded", stamp(h.LastSuccess),
			"hold", stamp(h.HeldUntil))
	}
	i.pipe.HSet(i.ctx, key, fields...)
	if e.OneOff && !l.Named.IsZero() {
		i.pipe.ZAdd(i.ctx, tag+"w:once", goredis.Z{Score: float64(micros(l.Named)), Member: e.ID})
	}
	if e.Status == dispatch.Active { // whoever claims looks at it, and notes when again
		i.pipe.ZAdd(i.ctx, tag+"w:due", goredis.Z{Score: float64(micros(i.s.Now())), Member: e.ID})
	}
	return i.sent(1024)
}

func (i *importer) addDelivery(l *transfer.Line) error {
	m := l.Delivery
	if i.endpoint == nil || m == nil || m.ID == "" {
		return errLine
	}
	tag := i.s.tags[i.s.ownerHome(i.endpoint.Owner)]
	name, order := i.number+":"+m.ID, goredis.Z{Member: m.ID}
	i.order++
	order.Score = float64(i.order)
	digest := bodyDigest(i.endpoint.Owner, m.Body)
	i.pipe.HSet(i.ctx, tag+"w:m:"+digest, "b", m.Body)
	i.pipe.HIncrBy(i.ctx, tag+"w:m:"+digest, "n", 1)
	fields := []any{
		"s", stateLetters[m.State], "l", m.Lane, "y", m.Type, "b", digest, "c", micros(m.Created), "o", i.order, "n", m.Tries, "a", m.Attempts,
	}
	if m.Attempts > 0 {
		fields = append(fields, "t", "") // it was claimed once
	}
	i.pipe.ZAdd(i.ctx, tag+"w:log:"+i.number, order)
	if m.State == dispatch.Waiting {
		fields = append(fields, "d", micros(m.Due))
		i.pipe.ZAdd(i.ctx, tag+"w:l:"+i.number+":"+m.Lane, order)
		i.pipe.ZAdd(i.ctx, tag+"w:waiting:"+i.number, goredis.Z{Score: float64(micros(m.Due)), Member: m.ID})
	} else {
		fields = append(fields, "d", micros(m.Settled), "z", micros(m.Settled))
		i.pipe.ZAdd(i.ctx, tag+"w:settled", goredis.Z{Score: float64(micros(m.Settled)), Member: i.number + "\x00" + m.ID})
	}
	i.pipe.HSet(i.ctx, tag+"w:d:"+name, fields...)
	for _, a := range m.Log {
		entry, err := attemptEntry(a)
		if err != nil {
			return err
		}
		i.pipe.RPush(i.ctx, tag+"w:a:"+name, entry)
	}
	i.pipe.HSet(i.ctx, tag+"w:e:"+i.endpoint.ID, "order", i.order)
	return i.sent(len(m.Body) + 1024)
}

// bodyDigest is what the body of a delivery is kept under, see deliveries.lua.
func bodyDigest(owner string, body []byte) string {
	sum := sha1.Sum(append([]byte(owner+"\x00"), body...)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
