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

// patience is for how long at least nothing is taken for some queue, although it is published to,
// before the connection is given up for that. The queue may just be full, so it is doubled each
// time until something is taken, up to longestPatience.
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

// publisher is the channel that everything is published on: one goroutine writes, one
// takes the server's answers, and many callers wait.
type publisher struct {
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

// publication is one message on its way. The publisher's lock guards returned and older.
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
func (g *generation) openPublisher() error {
	pub := &publisher{
		g: g, counts: &g.link.broker.counts,
		unwritten: make(chan *publication, maxUnwritten), ended: make(chan struct{}),
		pending: make(map[uint64]*publication), refused: make(map[string]time.Time), byID: make(map[string]*publication),
	}
	if err := g.call(func() (err error) {
		if pub.channel, err = g.conn.Channel(); err != nil {
			return err
		}
		return pub.channel.Confirm(false)
	}); err != nil {
		return err
	}
	// The reader of the connection hands over a return and then its confirmation.
	// returned has no room: it is taken before the confirmation can be, and since
	// one goroutine takes both, it is also worked off before.
	returned := pub.channel.NotifyReturn(make(chan amqp.Return))
	confirmed := pub.channel.NotifyPublish(make(chan amqp.Confirmation, 64))
	closed := pub.channel.NotifyClose(make(chan *amqp.Error, 1))
	g.mu.Lock()
	g.publisher = pub
	g.mu.Unlock()
	g.watching.Go(pub.write)
	g.watching.Go(func() { pub.settle(returned, confirmed, closed) })
	return nil
}

// openedLane returns the publisher if the generation has one already.
func (g *generation) openedPublisher() *publisher {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.publisher
}

// put hands a publication to who writes, in the order of the calls.
func (pub *publisher) put(ctx context.Context, p *publication) error {
	select {
	case pub.unwritten <- p:
		return nil
	case <-pub.ended:
		return errLost
	case <-ctx.Done():
		return errUntaken
	}
}

// await waits for what becomes of a publication.
func (pub *publisher) await(ctx context.Context, p *publication) error {
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return errUnconfirmed
	case <-pub.ended:
		select {
		case err := <-p.done:
			return err
		default: // too late to be written
			return errLost
		}
	}
}

// write writes what callers want to publish.
func (pub *publisher) write() {
	var tag uint64
	for {
		var p *publication
		select {
		case p = <-pub.unwritten:
		case <-pub.ended:
			pub.drop()
			return
		}
		tag++
		if !pub.add(tag, p) {
			p.finish(errLost)
			continue
		}
		if _, err := pub.channel.PublishWithDeferredConfirm(p.exchange, p.key, p.mandatory, false, p.message); err != nil {
			pub.g.fail(fmt.Errorf("publish: %w", err)) // settle finishes what is pending
		}
	}
}

// drop finishes what was not written when the publisher ended.
func (pub *publisher) drop() {
	for {
		select {
		case p := <-pub.unwritten:
			p.finish(errLost)
		default:
			return
		}
	}
}

// settle takes the server's answers until the channel ends.
func (pub *publisher) settle(returned <-chan amqp.Return, confirmed <-chan amqp.Confirmation, closed <-chan *amqp.Error) {
	for returned != nil || confirmed != nil {
		select {
		case r, ok := <-returned:
			if !ok {
				returned = nil
				continue
			}
			pub.sentBack(&r)
		case c, ok := <-confirmed:
			if !ok {
				confirmed = nil
				continue
			}
			pub.confirm(c)
		}
	}
	if err, ok := <-closed; ok {
		pub.g.fail(err)
	}
	pub.mu.Lock()
	pub.over = true
	pub.counts.pending.Add(-int64(len(pub.pending)))
	for _, p := range pub.pending {
		p.finish(errLost)
	}
	clear(pub.pending)
	clear(pub.byID)
	pub.mu.Unlock()
	close(pub.ended)
	_ = pub.g.socket.Close() // a publisher that ended ends its generation
}

func (pub *publisher) add(tag uint64, p *publication) bool {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	if pub.over {
		return false
	}
	pub.pending[tag] = p
	p.older = pub.byID[p.message.MessageId]
	pub.byID[p.message.MessageId] = p
	pub.counts.pending.Add(1)
	return true
}

// sentBack notes that a message had no queue. Of several with the same id it is the
// oldest that was not sent back: the server answers in order.
func (pub *publisher) sentBack(r *amqp.Return) {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	var oldest *publication
	for p := pub.byID[r.MessageId]; p != nil; p = p.older {
		if p.returned == "" && p.exchange == r.Exchange && p.key == r.RoutingKey {
			oldest = p
		}
	}
	if oldest != nil {
		oldest.returned = fmt.Sprintf("the queue is gone (%d %s)", r.ReplyCode, r.ReplyText)
	}
	select {
	case pub.g.link.repair <- struct{}{}:
	default:
	}
}

func (pub *publisher) confirm(c amqp.Confirmation) {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	p := pub.pending[c.DeliveryTag]
	if p == nil {
		return
	}
	delete(pub.pending, c.DeliveryTag)
	pub.counts.pending.Add(-1)
	pub.forget(p)
	switch {
	case p.returned != "": // acknowledged all the same
		pub.counts.refused.Add(1)
		p.finish(fmt.Errorf("%w: %s", errRefused, p.returned))
	case !c.Ack:
		pub.counts.refused.Add(1)
		p.finish(errRefused)
		// RabbitMQ (3.10) never takes anything for a quorum queue on a channel whose first message
		// for it came while the queue had no leader, and may refuse on and on for one that was full
		// once, on a channel that has met that. On another channel it takes it.
		since, ok := pub.refused[p.aim()]
		if !ok {
			pub.refused[p.aim()] = time.Now()
		} else if pub.g.link.impatient(p.aim(), time.Since(since)) {
			pub.g.fail(fmt.Errorf("%w: for %v all for %s", errRefused, time.Since(since).Round(time.Second), p.aim()))
		}
	default:
		if _, ok := pub.refused[p.aim()]; ok {
			delete(pub.refused, p.aim())
			pub.g.link.content(p.aim())
		}
		pub.counts.published.Add(1)
		p.finish(nil)
	}
}

// forget takes p out of the list of its id.
func (pub *publisher) forget(p *publication) {
	newest := pub.byID[p.message.MessageId]
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
		delete(pub.byID, p.message.MessageId)
	} else {
		pub.byID[p.message.MessageId] = p.older
	}
}

// giveUp fails what is pending without ending the publisher: its answers may come late.
func (pub *publisher) giveUp(err error) {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	for _, p := range pub.pending {
		p.finish(err)
	}
}
