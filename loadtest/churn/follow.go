package churn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// follower follows a request or a feed over as many connections as it takes, now by Server-Sent
// Events and now by WebSocket, each time from where it was. Everything is its goroutine's until run
// has returned, but for what says mu.
type follower struct {
	*churn
	who     *caller
	random  *rand.Rand
	path    string // of the stream
	channel string // on a WebSocket
	name    string

	feed   bool
	topic  string // of a feed; "" for all of the owner's
	steady bool   // it reads at once and leaves of itself never, so that it misses nothing
	// before are lives from before it began, of which the feed may have forgotten events. Nil: it
	// was there from the first.
	before map[ref]bool

	sub    *submission // that is followed, if it is one
	former ref         // life that it had a cursor of, if it begins with one
	of     ref         // life that it follows
	at     int         // the last offset
	cursor string      // behind which it goes on, "" to begin with
	wire   string      // of the connection, and the cursor that it began with
	begun  string

	mu     sync.Mutex
	seen   map[ref]int // the last sequence of each life
	gaps   []gap
	missed int // offsets that were left out
	resets int
	ended  bool
}

// gap is what a follower was not given.
type gap struct {
	of       ref
	from, to int // sequences, both included
}

// connection is one that a follower has, for who looks after keys.
type connection struct {
	key  string
	name string // of the follower
}

type connections struct {
	sync.Mutex
	open map[*connection]bool
}

// said is one thing that a stream or a socket says.
type said struct {
	// event, end, subscribed, error, or the name of an event that is none of the channel.
	op        string
	offset    int
	cursor    string
	event     []byte
	recovered bool
}

// Why a connection is over.
var (
	errEnded   = errors.New("the channel has ended")
	errGone    = errors.New("the request is gone")
	errRevoked = errors.New("the key holds no longer")
	errWrong   = errors.New("a violation, which was told")
)

// followRequest follows a request to its end, in a goroutine of its own.
func (c *churn) followRequest(ctx context.Context, seed uint64, s *submission) {
	id := c.idOf(s)
	f := &follower{
		churn: c, who: c.owners[s.owner], random: rand.New(rand.NewPCG(c.Seed, seed)), sub: s, name: fmt.Sprintf("follower of n=%d %s", s.n, id),
		path: "/v1/requests/" + id + "/events", channel: "request:" + id, seen: make(map[ref]int),
	}
	c.ledger.count("followers of requests")
	c.under.Go(func() { f.run(ctx) })
}

// followFormer follows a request with a cursor of one that had its id before. It has to be told so,
// and is shown nothing of that.
func (c *churn) followFormer(ctx context.Context, seed uint64, s *submission, former ref) {
	f := &follower{
		churn: c, who: c.owners[s.owner], random: rand.New(rand.NewPCG(c.Seed, seed)), sub: s, name: fmt.Sprintf("follower of n=%d %s with the cursor of %s", s.n, s.id, former),
		path: "/v1/requests/" + s.id + "/events", channel: "request:" + s.id, seen: make(map[ref]int), former: former, at: 2, cursor: "2-" + former.life,
	}
	c.ledger.count("followers with the cursor of a former life")
	c.under.Go(func() { f.run(ctx) })
}

// feeds starts followers of every owner's feed, a steady one and one that is not, and of topics,
// which go on until ctx ends.
func (c *churn) feeds(ctx context.Context, round int, running *sync.WaitGroup) (all []*follower) {
	for i, who := range c.owners {
		for _, kind := range []struct {
			topic  string
			steady bool
		}{{"", true}, {"", false}, {fmt.Sprintf("topic.%d", i), false}} {
			f := &follower{
				churn: c, who: who, random: c.random(fmt.Sprint("feed", i, kind, round)), path: "/v1/events", channel: "owner", seen: make(map[ref]int),
				feed: true, steady: kind.steady, topic: kind.topic, cursor: "0", name: fmt.Sprintf("follower of %s's feed", who.subject),
			}
			if kind.topic != "" {
				f.path, f.channel = "/v1/topics/"+kind.topic+"/events", "topic:"+kind.topic
				f.name = fmt.Sprintf("follower of %s's %s", who.subject, kind.topic)
			}
			if round > 0 {
				f.before = c.ledger.known()
			}
			c.ledger.count("followers of feeds")
			running.Go(func() { f.run(ctx) })
			all = append(all, f)
		}
	}
	return all
}

// run follows until the end, or until ctx ends.
func (f *follower) run(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			f.ledger.count("times that followers came back")
		}
		key := f.who.current()
		var err error
		f.begun = f.cursor
		if f.wire = "SSE"; one(f.random, 2) {
			err = f.stream(ctx, key)
		} else {
			f.wire = "WebSocket"
			err = f.socket(ctx, key)
		}
		switch {
		case errors.Is(err, errEnded):
			f.finish()
			return
		case errors.Is(err, errGone):
			if f.sub != nil && f.sub.slot { // it was forgotten meanwhile
				f.ledger.count("followers whose request was forgotten")
				return
			}
			f.ledger.violate("%s: the request is gone", f.name)
			return
		case errors.Is(err, errWrong):
			return
		case errors.Is(err, errRevoked):
			f.ledger.count("connections closed because their key was revoked")
			if key == f.who.current() {
				f.ledger.violate("%s: the key of %s, which is in the file, is refused", f.name, f.who.subject)
				return
			}
		}
		pause(ctx, between(f.random, 10*time.Millisecond, 300*time.Millisecond))
	}
}

// finish notes that all was seen.
func (f *follower) finish() {
	f.mu.Lock()
	f.ended = true
	gaps := f.gaps
	f.mu.Unlock()
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	f.ledger.finished = append(f.ledger.finished, finished{f.name, f.of, f.at, gaps})
}

// finished is a follower that was told of the end, which may have been by its status alone, before
// anybody was shown its event.
type finished struct {
	name string
	of   ref
	at   int
	gaps []gap
}

// checkFollower checks that it was shown everything up to the end. The lock is held.
func (l *ledger) checkFollower(f finished) {
	if v := l.lives[f.of]; v == nil || v.ended != f.at {
		l.wrongly("%s was told of the end at %d of %s, which has another", f.name, f.at, f.of)
		return
	}
	l.explained(f.name, f.gaps)
	l.found["followers that saw the end"]++
}

// explained checks that nothing was left out but progress which is superseded. The lock is held.
func (l *ledger) explained(name string, gaps []gap) {
	for _, g := range gaps {
		v := l.lives[g.of]
		for seq := g.from; seq <= g.to; seq++ {
			if e := v.events[seq]; e == nil || e.kind != "progress" || v.events[g.to+1] == nil {
				l.wrongly("%s was not given event %d of %s, which is no superseded progress", name, seq, g.of)
			}
			l.found["superseded progress left out"]++
		}
	}
}

// hold notes a connection until what it returns is called.
func (f *follower) hold(key string) func() {
	conn := &connection{key: key, name: f.name}
	f.conns.Lock()
	defer f.conns.Unlock()
	f.conns.open[conn] = true
	return func() {
		f.conns.Lock()
		defer f.conns.Unlock()
		delete(f.conns.open, conn)
	}
}

// moods are when a connection is left, and when it is not read for a while, by the number of
// events.
type moods struct {
	leave, silence int
}

func (f *follower) moods(ctx context.Context) (m moods) {
	m = moods{-1, -1}
	if f.steady || f.disturbed.Err() != nil || ctx.Err() != nil {
		return m
	}
	if one(f.random, 3) {
		m.leave = f.random.IntN(8)
	}
	if one(f.random, 4) {
		m.silence = f.random.IntN(6)
	}
	return m
}

var errLeft = errors.New("left")

// take takes what a connection has said, and says whether that was all.
func (f *follower) take(ctx context.Context, m *moods, s said) error {
	switch s.op {
	case "event":
	case "subscribed", "start", "pong":
		return nil
	case "end":
		if s.offset != f.at {
			f.ledger.violate("%s: the end is at %d, after %d", f.name, s.offset, f.at)
			return errWrong
		}
		return errEnded
	case "busy", "restart", "unavailable":
		f.ledger.count("streams that said " + s.op)
		return nil // and is closed
	case "unauthenticated":
		return errRevoked
	default:
		f.ledger.violate("%s: %s is not described", f.name, s.op)
		return errWrong
	}
	f.ledger.count("messages to followers")
	of, seq, kind, err := f.ledger.observe(f.name, f.who.subject, s.event)
	if err != nil {
		f.ledger.violate("%s: %v", f.name, err)
		return errWrong
	}
	if err := f.place(s, of, seq, kind); err != nil {
		return err
	}
	if m.silence == 0 {
		d := between(f.random, 100*time.Millisecond, 3*time.Second)
		if f.feed && one(f.random, 3) { // until more waits for it than is kept
			d = between(f.random, 10*time.Second, 30*time.Second)
		}
		f.ledger.count("times that followers did not read")
		hear, stop := context.WithTimeout(ctx, d)
		select {
		case <-hear.Done():
		case <-f.disturbed.Done():
		}
		stop()
	}
	if m.leave == 0 {
		f.ledger.count("times that followers left")
		return errLeft
	}
	m.leave--
	m.silence--
	return nil
}

// place holds an event against what came before.
func (f *follower) place(s said, of ref, seq int, kind string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case kind == "feed.forgotten":
		if s.offset > f.at {
			f.ledger.count("places of forgotten events in feeds")
			f.missed += s.offset - f.at - 1
			f.at, f.cursor = s.offset, s.cursor
		}
		return nil
	case kind == "reset" || kind == "feed.reset":
		f.ledger.count("resets told")
		f.resets++
		switch {
		case f.feed && f.at == 0 && f.before != nil:
			f.ledger.count("feeds that had forgotten their beginning")
		case f.feed:
			f.ledger.violate("%s: told of a loss at %d, behind %d, although nothing was lost", f.name, s.offset, f.at)
		case f.former != ref{} && f.of == ref{}, f.of != ref{} && f.of != of: // another life
		default:
			f.ledger.violate("%s: told of a loss at %d of %s, behind %d, although nothing was lost", f.name, s.offset, of, f.at)
		}
		f.of, f.at, f.cursor = of, s.offset, s.cursor
		f.seen[of] = seq
		return nil
	case f.former != ref{} && f.of == ref{}:
		f.ledger.violate("%s: shown event %d of %s, without a word that its cursor is of another life", f.name, seq, of)
		return errWrong
	case !f.feed && f.of != ref{} && f.of != of:
		f.ledger.violate("%s: event %d of %s at %d, while it follows %s behind %d; it came back by %s with %q", f.name, seq, of, s.offset, f.of, f.at, f.wire, f.begun)
		return errWrong
	case s.offset <= f.at: // at least once
		f.ledger.count("events that came again")
		return nil
	}
	if s.offset > f.at+1 {
		f.missed += s.offset - f.at - 1
	}
	last := f.seen[of]
	if !f.feed {
		f.of = of
	}
	if !f.feed && seq != s.offset {
		f.ledger.violate("%s: event %d at offset %d", f.name, seq, s.offset)
	}
	switch {
	case seq <= last:
		f.ledger.violate("%s: event %d of %s after %d", f.name, seq, of, last)
	case last == 0 && f.resets > 0 && f.before[of]: // the feed had forgotten the beginning
	case seq > last+1:
		f.gaps = append(f.gaps, gap{of, last + 1, seq - 1})
	}
	f.seen[of], f.at, f.cursor = seq, s.offset, s.cursor
	return nil
}

// cursorOf returns where to go on behind a message of a WebSocket: its offset, with the life of its
// request if the id was chosen.
func (f *follower) cursorOf(text []byte, offset int) string {
	if f.feed {
		return strconv.Itoa(offset)
	}
	var message struct {
		Event struct{ Data struct{ Life string } }
	}
	if json.Unmarshal(text, &message) == nil && message.Event.Data.Life != "" {
		return strconv.Itoa(offset) + "-" + message.Event.Data.Life
	}
	return strconv.Itoa(offset)
}

// wants reports whether a feed carries a life. The ledger's lock is held.
func (f *follower) wants(v *life) bool {
	if v.owner != f.who.subject || v.events[1] == nil && f.topic != "" {
		return false
	}
	return f.topic == "" || v.events[1].topic == f.topic
}

// behind returns a life whose end a feed has not shown yet, if there is one.
func (f *follower) behind() (of ref, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.lives {
		if f.wants(v) && v.ended != 0 && !v.gone && (f.resets == 0 || !f.before[v.ref]) && f.seen[v.ref] != v.ended {
			return v.ref, true
		}
	}
	return of, false
}

// checkFeed checks what a feed has shown in all.
func (f *follower) checkFeed() {
	of, behind := f.behind()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if behind {
		l.wrongly("%s has shown %d of %d events of %s", f.name, f.seen[of], l.lives[of].ended, of)
	}
	l.explained(f.name, f.gaps)
	missing := 0
	for _, g := range f.gaps {
		missing += g.to - g.from + 1
	}
	if missing != f.missed && f.resets == 0 {
		l.wrongly("%s: %d offsets are missing, and %d events", f.name, f.missed, missing)
	}
	l.found["feeds seen whole"]++
	l.found["lives in feeds"] += len(f.seen)
}
