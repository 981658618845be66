package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxUnwritten is how many publications wait to be written before Publish blocks.
const maxUnwritten = 128

// patience is for how long at least nothing is taken for some queue, although it is published to, before the connection is
// given up for that. The queue may just be full, so it is doubled each time until something is taken, up to longestPatience.
const (
	patience        = 5 * time.Second
	longestPatience = 10 * time.Minute
)

var (
	errLost        = errors.New("the connection was lost")
	errRefused     = errors.New("RabbitMQ refused it")
	errUnconfirmed = errors.New("not confirmed in time")
	errUntaken     = errors.New("the connection takes nothing")
)

// lane is the channel that everything is published on: one goroutine writes, one
// takes the server's answers, and many callers wait.
type lane struct {
	g         *generation
	channel   *amqp.Channel
	unwritten chan *publication
	ended     chan struct{} // closed when no answer will come any more
	counts    *counters

	mu      sync.Mutex
	over    bool                    // no publication may be added
	pending map[uint64]*publication // by delivery tag, until the server's answer
	refused map[string]time.Time    // since when it takes nothing for an aim
	byID    map[string]*publication // the newest pending one of each message id
}

// publication is one message on its way. The lane's lock guards returned and older.
type publication struct {
	exchange, key string
	mandatory     bool // it is refused without a queue
	message       amqp.Publishing
	done          chan error // gets the first result; has room for it
	returned      string     // why it has no queue
	older         *publication
}

func newPublication(exchange, key string, mandatory bool, m amqp.Publishing) *publication {
	return &publication{exchange: exchange, key: key, mandatory: mandatory, message: m, done: make(chan error, 1)}
}

// aim is the one queue where a message goes, or else its exchange.
func (p *publication) aim() string {
	if p.mandatory {
		return p.exchange + "." + p.key
	}
	return p.exchange
}

// finish gives the caller a result unless it has one.
func (p *publication) finish(err error) {
	select {
	case p.done <- err:
	default:
	}
}

// openLane opens the channel of a new connection.
func (g *generation) openLane() error {
	l := &lane{
		g: g, counts: &g.link.broker.counts,
		unwritten: make(chan *publication, maxUnwritten), ended: make(chan struct{}),
		pending: make(map[uint64]*publication), refused: make(map[string]time.Time), byID: make(map[string]*publication),
	}
	if err := g.call(func() (err error) {
		if l.channel, err = g.conn.Channel(); err != nil {
			return err
		}
		return l.channel.Confirm(false)
	}); err != nil {
		return err
	}
	// The reader of the connection hands over a return and then its confirmation.
	// returned has no room: it is taken before the confirmation can be, and since
	// one goroutine takes both, it is also worked off before.
	returned := l.channel.NotifyReturn(make(chan amqp.Return))
	confirmed := l.channel.NotifyPublish(make(chan amqp.Confirmation, 64))
	closed := l.channel.NotifyClose(make(chan *amqp.Error, 1))
	g.mu.Lock()
	g.lane = l
	g.mu.Unlock()
	g.watching.Go(l.write)
	g.watching.Go(func() { l.settle(returned, confirmed, closed) })
	return nil
}

// openedLane returns the lane if the generation has one already.
func (g *generation) openedLane() *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lane
}

// put hands a publication to who writes, in the order of the calls.
func (l *lane) put(ctx context.Context, p *publication) error {
	select {
	case l.unwritten <- p:
		return nil
	case <-l.ended:
		return errLost
	case <-ctx.Done():
		return errUntaken
	}
}

// await waits for what becomes of a publication.
func (l *lane) await(ctx context.Context, p *publication) error {
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return errUnconfirmed
	case <-l.ended:
		select {
		case err := <-p.done:
			return err
		default: // too late to be written
			return errLost
		}
	}
}

// write writes what callers want to publish.
func (l *lane) write() {
	var tag uint64
	for {
		var p *publication
		select {
		case p = <-l.unwritten:
		case <-l.ended:
			l.drop()
			return
		}
		tag++
		if !l.add(tag, p) {
			p.finish(errLost)
			continue
		}
		if _, err := l.channel.PublishWithDeferredConfirm(p.exchange, p.key, p.mandatory, false, p.message); err != nil {
			l.g.fail(fmt.Errorf("publish: %w", err)) // settle finishes what is pending
		}
	}
}

// drop finishes what was not written when the lane ended.
func (l *lane) drop() {
	for {
		select {
		case p := <-l.unwritten:
			p.finish(errLost)
		default:
			return
		}
	}
}

// settle takes the server's answers until the channel ends.
func (l *lane) settle(returned <-chan amqp.Return, confirmed <-chan amqp.Confirmation, closed <-chan *amqp.Error) {
	for returned != nil || confirmed != nil {
		select {
		case r, ok := <-returned:
			if !ok {
				returned = nil
				continue
			}
			l.sentBack(&r)
		case c, ok := <-confirmed:
			if !ok {
				confirmed = nil
				continue
			}
			l.confirm(c)
		}
	}
	if err, ok := <-closed; ok {
		l.g.fail(err)
	}
	l.mu.Lock()
	l.over = true
	l.counts.pending.Add(-int64(len(l.pending)))
	for _, p := range l.pending {
		p.finish(errLost)
	}
	clear(l.pending)
	clear(l.byID)
	l.mu.Unlock()
	close(l.ended)
	_ = l.g.socket.Close() // a lane that ended ends its generation
}

func (l *lane) add(tag uint64, p *publication) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.pending[tag] = p
	p.older = l.byID[p.message.MessageId]
	l.byID[p.message.MessageId] = p
	l.counts.pending.Add(1)
	return true
}

// sentBack notes that a message had no queue. Of several with the same id it is the
// oldest that was not sent back: the server answers in order.
func (l *lane) sentBack(r *amqp.Return) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest *publication
	for p := l.byID[r.MessageId]; p != nil; p = p.older {
		if p.returned == "" && p.exchange == r.Exchange && p.key == r.RoutingKey {
			oldest = p
		}
	}
	if oldest != nil {
		oldest.returned = fmt.Sprintf("the queue is gone (%d %s)", r.ReplyCode, r.ReplyText)
	}
	select {
	case l.g.link.repair <- struct{}{}:
	default:
	}
}

func (l *lane) confirm(c amqp.Confirmation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[c.DeliveryTag]
	if p == nil {
		return
	}
	delete(l.pending, c.DeliveryTag)
	l.counts.pending.Add(-1)
	l.forget(p)
	switch {
	case p.returned != "": // acknowledged all the same
		l.counts.refused.Add(1)
		p.finish(fmt.Errorf("%w: %s", errRefused, p.returned))
	case !c.Ack:
		l.counts.refused.Add(1)
		p.finish(errRefused)
		// RabbitMQ (3.10) never takes anything for a quorum queue on a channel whose first message for it came while the queue had no leader, and
		// may refuse on and on for one that was full once, on a channel that has met that. On another channel it takes it.
		since, ok := l.refused[p.aim()]
		if !ok {
			l.refused[p.aim()] = time.Now()
		} else if l.g.link.impatient(p.aim(), time.Since(since)) {
			l.g.fail(fmt.Errorf("%w: for %v all for %s", errRefused, time.Since(since).Round(time.Second), p.aim()))
		}
	default:
		if _, ok := l.refused[p.aim()]; ok {
			delete(l.refused, p.aim())
			l.g.link.content(p.aim())
		}
		l.counts.published.Add(1)
		p.finish(nil)
	}
}

// forget takes p out of the list of its id.
func (l *lane) forget(p *publication) {
	newest := l.byID[p.message.MessageId]
	if newest != p {
		for newer := newest; newer != nil; newer = newer.older {
			if newer.older == p {
				newer.older = p.older
				return
			}
		}
		return
	}
	if p.older == nil {
		delete(l.byID, p.message.MessageId)
	} else {
		l.byID[p.message.MessageId] = p.older
	}
}

// giveUp fails what is pending without ending the lane: its answers may come late.
func (l *lane) giveUp(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pending {
		p.finish(err)
	}
}
