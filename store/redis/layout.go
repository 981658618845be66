package redis

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// The layout, version 6. Behind the prefix and the hash tag of the partition stand, where <name> is
// the id and, behind a slash, the life of a request (the id alone of one that was stored before
// version 3):
//
//	r:<id>       record, see below
//	h:<name>     list of the request's events, each followed by its places: the offsets that it has in the feeds of its owner and, behind a space, its
//	             topic, as far as those are in this partition. An event is the record as it is after it: it tells
//	             of that state whole, and who reads it makes of it what clients get. The one that ends the request is its record
//	             from then on, and '' here, until it is redriven
//	i:<name> o:<name>  content and result: sums (since version 4, see codec.SealBody), length of the type, type, bytes; not there if the
//	             record has the result, byte for byte
//	a:<name>     answers, in the same form, while it has some
//	pending      sorted by name: route NUL inverse-priority ticket id: the order of work
//	processing   by the number of their route, see workingOf: id; by 0 batches, those that wait for an answer, and what a version began that numbered none
//	expiry       by time in µs: id
//	dead:<route> by the time of their end in µs: id of those that have failed (since version 5)
//	dead         sorted by name: routes of which there are such
//	made:<route> by the time of their creation in µs: id of everybody's requests (since version 6); of batches the route is ''
//	made         sorted by name: routes of which there are such
//	batches      by when it was noted, in µs: id of a batch that may not have ended; the time is that of its creation
//	lead:<what>  which process does what one is enough for, until it expires
//	present      processes that are there, by until when, in µs; present:<name> what one says of itself, JSON, until then
//	worker:<key> sessions of a worker over HTTP by their number, the newest 16, until none has called for a day
//	workers:<owner>  the keys of its workers by when they called last, in µs, until none has for a day
//	own:<owner>  by serial: codec.OwnerEntry
//	use:<owner>  what its requests and streams in this partition take: o open ones, b bytes of contents, results, and streams, w those that wait, see usage.go
//	n:<name>     how fast something goes, lifecycle.Pace: count, seconds that they took, busy seconds, time of the newest in µs
//	c:h:<lane>   set of the names of those that have a slot, see slots.lua
//	c:w:<lane>   those that wait for one, sorted by name: inverse priority, ticket, limits of its key and its route, name
//	c:r:<route>  set of the names of those that have one of a route that limits them
//	stand        how many requests of a route stand still: p and the route, those that wait for a slot; w and it, for an answer
//	c:t:<route>  lanes that wait for their turn on it, by number
//	k:<digest>   idempotency key, by codec.KeyDigest in base64: r request, v its life, f fingerprint, l locked until, t token, y reply
//	v:<token>    a claim on a key that was taken over: its creation must not happen
//	t:<channel>  top offset of a feed
//	g:<channel>  list of a feed, up to its top: for each event its time in µs and itself, '' if it was forgotten. One without a time
//	             stands before the first event of a feed that began behind others
//	aging        by time in µs of the oldest event: feed
//	floor        the highest offset that a feed had which is gone; those that begin, begin behind it
//	x:<N>        stream, the outbox for feeds of partition N, id = tick-n: c feed, e event, w what
//	             the request names of webhooks
//	relayed      for each partition, up to which entry its outbox has been relayed to here
//	callback     how many events are collected for the callback exchange at most; not
//	             there: none are
//	callback:events   stream of them: t topic, e event
//	callback:lease    until when, in µs, and token of who publishes them
//	callback:dropped  how many were dropped because there were too many
//	s:<token>    a large body on its way into i:, o: or a:
//	y:… d:… z:…  streams, see below
//	w:…          webhooks, see below
//	q:…          work, see below
//	probe        written by who asks whether it can be, for a second
//	clock        the newest ticket, serial or tick: microseconds, rising
//
// and, published, b:<channel>: the event in a request's own channel, offset ':' event in a feed,
// b:callback: the token of who is to take from callback:events, '' for anybody, and b:due when
// webhook deliveries become due. Without a tag: meta (how the store was made) and the channels
// cancel, which carries names, and worker, which carries numbers of new sessions and the keys of
// their workers.
//
// Work, if it is queued here (meta has the field queue then: redis; moves, while what is left of it
// is being removed). An entry is the queue (route NUL inverse-priority), the ticket, and the name
// of a request; of what is not stored, behind a line feed each, message and sequence:
//
//	q:r:<route>  what may be taken, sorted by name: entries without the route; behind one that was handed out
//	             before, behind a carriage return, how often it was lost
//	q:later      entries of what is delayed, by when it is due, in µs
//	q:leases     leases of processes by when they run out, in µs
//	q:h:<lease>  what was taken by one: entry to how often it was lost, '' if it was never handed out before
//	q:tended     when somebody renewed a lease last, in µs
//	q:w:<route>  processes that wait for work of it
//	q:on         leases to routes that their processes work on, each behind a space (where present is)
//	q:dead:<route>  what was put aside, by when: reason, a space, and the entry
//
// and, published, b:work:<process>, a route of which there may be work, and b:work, when the next
// of what is delayed is due, in µs.
//
// Streams, where <stream> is its stream.Name.Key: outputs in the partition of their request, and
// those of a caller's own in that of their name, or, of a fork, of the one that it comes from in
// the end:
//
//	y:<stream>   what is known of it, see streamRecord; of an output not before somebody has appended to it. Where a fork has its
//	             name but does not live: a pointer, see pointerSign
//	d:<stream>   its bytes, but for those that it has of another one
//	z:<stream>   of each 64 KiB of them the sum, CRC-32C
//	y:due        by the time when they run out, in µs: streams; by when they are looked at, pointers
//	v:<token>    a pointer that was given up: its fork must not be made
//
// and, published, b:<stream>: what was appended, see head, or that its request has ended or was
// redriven, or that it was deleted.
//
// Webhooks, in the partition of their owner's feed; times are in µs, <n> is the number of an
// endpoint, a ticket that it got when it was made, so that what is left of one that is gone is
// nobody's:
//
//	w:e:<id>     endpoint: json, version, token of the last write, owner, number, created, updated, what is needed of
//	             it to schedule (status, concurrency, interval, coalesce, timeout, once, hold, rated: next time its rate allows),
//	             how it fares (failures, successes, failing: since when, succeeded: when last), order: how
//	             many deliveries were made of it
//	w:own:<owner>    its endpoints by ticket, of the one-off ones those that are disabled
//	w:all        the same of all owners (since version 6)
//	w:wants:<owner>  what is enqueued by itself: id to filter, JSON
//	w:once       one-off endpoints by the time until which they are named
//	w:ones:<owner>   those of an owner by ticket, made or named by a submission since they are counted
//	w:due        endpoints by when something of theirs may be claimed
//	w:d:<n>:<message>  delivery: s state (w, s, d, x dead, p superseded), l lane, y type, b digest of the body, c created,
//	             d due, z settled, o order, n attempts since it was enqueued or resent, a attempts, t token
//	             of the claim ('': none any more; not there: none ever), x token of the last write
//	w:a:<n>:<message>  its attempts, the last 50: time, space, JSON
//	w:log:<n>    deliveries by order
//	w:waiting:<n> by when they are due, w:sending:<n> by when their lease ends, w:blocked:<n> by when
//	             they are due, those that wait for another one of their lane
//	w:l:<n>:<lane>   what is not settled of a lane by order
//	w:m:<digest> body: b the bytes, n how many deliveries have it
//	w:settled    <n> NUL message by when it was settled
//	w:gone       numbers of endpoints that were deleted and have deliveries left
//
// and, in the partition of their names, w:id:<id>, the owner of the endpoint with this id, and
// w:kept:<name>, what was given to PutIfAbsent.

// Up to version 3 events of a request stood in a stream e:<name>, id = sequence-0: e event, which
// is read as it is and becomes a list with the next event, and those of feeds in streams
// f:<channel>, id = offset-0: t time in µs, e event, which become lists when the store is opened.
// Version 1 had JSON in the place of the last two parts of a record, and of an event what clients
// get, which begins with a brace: in e: as t token, l last, e event, and in f: as t time, l always
// 0, e event. That is still read.

// record is a request together with what its header holds.
type record struct {
	lifecycle.Request
	token  string              // of the last write
	ticket string              // its place in pending, when it got there last
	serial string              // its place in the owner's list
	queue  string              // route NUL inverse-priority
	event  lifecycle.EventType // which the last write stored; "" if it stored none
}

// Columns of the header. The queue and a line feed follow. Then, for scripts as well, what the
// event is: the position that it tells of, if it does, codec.EventLetter of its type, name '/'
// sequence '/' topic and a line feed. The rest is what codec.AppendSummed writes; its sum begins at
// the letter.
const (
	tokenSize  = 16
	statusAt   = tokenSize
	ticketAt   = statusAt + 1
	ticketSize = 16
	serialAt   = ticketAt + ticketSize
	queueAt    = serialAt + ticketSize
)

// recordSize is room for most records.
const recordSize = 512

var errDamaged = errors.New("it is no record")

func decodeRecord(id, value string) (*record, error) {
	r := new(record)
	err := r.decode(value)
	if err == nil && r.ID != id {
		err = errDamaged
	}
	if err != nil {
		return nil, &lifecycle.DamageError{ID: id, What: "the record", Err: err}
	}
	r.Position = nil // that is of then
	return r, nil
}

// decode reads what append wrote, with the position that an event tells of. The strings in r are
// parts of value.
func (r *record) decode(value string) error {
	end := strings.IndexByte(value, '\n')
	if end < queueAt {
		return errDamaged
	}
	r.token, r.ticket, r.serial, r.queue = value[:tokenSize], value[ticketAt:serialAt], value[serialAt:queueAt], value[queueAt:end]
	rest := value[end+1:]
	if strings.HasPrefix(rest, "{") {
		return json.Unmarshal([]byte(rest), &r.Request)
	}
	line, rest, ok := strings.Cut(rest, "\n")
	at := strings.IndexFunc(line, func(c rune) bool { return c < '0' || c > '9' })
	if !ok || at < 0 {
		return errDamaged
	}
	if at > 0 {
		n, err := strconv.Atoi(line[:at])
		if err != nil {
			return errDamaged
		}
		r.Position = &n
	}
	r.event = codec.EventType(line[at])
	r.ID, _, ok = strings.Cut(line[at+1:], "/") // its life stands in the rest, too
	if !ok || r.event == "" && line[at] != '-' {
		return errDamaged
	}
	if err := codec.DecodeSummed(value[end+1+at:len(value)-len(rest)], rest, &r.Request); err != nil {
		return err
	}
	if codec.StatusLetter(r.Status) != value[statusAt:ticketAt] {
		return errDamaged
	}
	return nil
}

// append appends r as it is stored.
func (r *record) append(dst []byte) []byte {
	dst = append(dst, r.token...)
	dst = append(dst, codec.StatusLetter(r.Status)...)
	dst = append(dst, r.ticket...)
	dst = append(dst, r.serial...)
	dst = append(dst, r.queue...)
	dst = append(dst, '\n')
	if r.Position != nil {
		dst = strconv.AppendInt(dst, int64(*r.Position), 10)
	}
	return r.appendRest(dst)
}

// appendRest appends what is behind the position.
func (r *record) appendRest(dst []byte) []byte {
	head := len(dst)
	dst = append(dst, codec.EventLetter(r.event))
	dst = append(dst, r.ID...)
	dst = append(dst, '/')
	if r.Life != "" {
		dst = append(append(dst, r.Life...), '/')
	}
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	dst = append(dst, '/')
	dst = append(dst, r.Topic...)
	dst = append(dst, '\n')
	return codec.AppendSummed(dst, head, &r.Request)
}

// member is the record's entry in pending.
func (r *record) member() string { return r.queue + r.ticket + r.ID }

// RankBy says by which of the ranks from 0 to 9 work of a priority is handed out, so that positions
// are those of the queue that carries it. It counts for what is stored from then on. Default: the
// priority itself.
func (s *Store) RankBy(rank func(priority int) int) { s.rankBy.Store(&rank) }

func (s *Store) rank(priority int) int {
	if rank := s.rankBy.Load(); rank != nil {
		return (*rank)(priority)
	}
	return priority
}

// queueOf is where requests with this route and priority wait.
func queueOf(route string, priority int) string {
	return route + "\x00" + string(rune('9'-min(max(priority, 0), 9)))
}

// newToken names one write.
func newToken() string {
	var raw [tokenSize * 3 / 4]byte
	_, _ = rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// digest is the name of an idempotency key, "" for none.
func digest(owner, key string) string {
	if key == "" {
		return ""
	}
	digest := codec.KeyDigest(owner, key)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// partition is where a request, a feed or a key lives. It never changes for a name.
func (s *Store) partition(name string) int {
	if len(s.tags) == 1 { // all of a single server; the sum would need a copy of the name
		return 0
	}
	return int(crc32.ChecksumIEEE([]byte(name)) % uint32(len(s.tags)))
}

func micros(t time.Time) int64 { return t.UnixMicro() }
