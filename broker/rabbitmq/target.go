package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/broker"
)

// Target is where the work of a route goes that somebody else's queue or exchange carries. Hark
// declares neither and changes neither; both have to be there before it. At least one is named.
type Target struct {
	// Queue is consumed by [Broker.Consume], and published to unless there is an exchange. It may
	// be of any type. Each route has one of its own.
	Queue string
	// Exchange is published to, of any type. Without a queue the route is consumed by others only.
	Exchange string
	// Key is the routing key there. Default: the route.
	Key string
}

// ValidName reports whether a queue or an exchange of somebody else's may have a name.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxKey && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// NamesOf says what [ValidName] allows.
const NamesOf = "1 to 255 bytes of Unicode without control characters"

// checkTargets says what is wrong with those of the options.
func (t topology) checkTargets() error {
	owner := make(map[string]string)
	for _, route := range slices.Sorted(maps.Keys(t.targets)) {
		target := t.targets[route]
		switch {
		case target.Queue == "" && target.Exchange == "":
			return fmt.Errorf("rabbitmq: route %q: name a queue or an exchange", route)
		case target.Queue != "" && !ValidName(target.Queue), target.Exchange != "" && !ValidName(target.Exchange), len(target.Key) > maxKey:
			return fmt.Errorf("rabbitmq: route %q: names of queues, exchanges and routing keys have %s", route, NamesOf)
		case target.Exchange != "" && len(t.outExchange(target.Exchange)) > maxKey:
			return fmt.Errorf("rabbitmq: route %q: the name of the exchange is too long: with %q in front of it it must not exceed %d bytes", route, t.outExchange(""), maxKey)
		case strings.HasPrefix(target.Queue, t.prefix+".") || strings.HasPrefix(target.Exchange, t.prefix+"."):
			return fmt.Errorf("rabbitmq: route %q: what begins with %q is Hark's own: name a queue or an exchange of somebody else's", route, t.prefix+".")
		case target.Queue != "" && owner[target.Queue] != "":
			return fmt.Errorf("rabbitmq: the routes %q and %q have the same queue %q: each has to have one of its own", owner[target.Queue], route, target.Queue)
		}
		owner[target.Queue] = route
	}
	return nil
}

// outExchange is Hark's own way into somebody else's exchange, a fanout that is bound to it alone.
// What is published to an exchange that is gone ends the channel, and with it what is on its way to
// other queues. From here it is returned like what has no queue.
func (t topology) outExchange(exchange string) string { return t.prefix + ".out." + exchange }

// foreign reports whether the work of a route goes to somebody else's queue or exchange.
func (t topology) foreign(route string) bool { _, ok := t.targets[route]; return ok }

// queueOf is what consumers of a route consume; "" if that is not known.
func (t topology) queueOf(route string) string {
	if target, ok := t.targets[route]; ok {
		return target.Queue
	}
	return t.workQueue(route)
}

// aim returns where a job is published, and whether that is a target. One that is not due waits in
// Hark's own queues, also for a target: who consumes there need not know of times. [Broker.Relay]
// hands it on.
func (t topology) aim(j broker.Job) (exchange, key string, foreign bool) {
	target, ok := t.targets[j.Route]
	switch {
	case !ok || t.left(j.NotBefore) > 0:
		return t.exchangeFor(j), j.Route, false
	case target.Exchange != "":
		return t.outExchange(target.Exchange), cmp.Or(target.Key, j.Route), true
	default:
		return "", target.Queue, true
	}
}

// MissingError says that a queue or an exchange of somebody else's is not there.
type MissingError struct {
	Kind, Name, Route string // "queue" or "exchange", its name, and the route that it is named for
	err               error
}

func (e *MissingError) Error() string {
	declare, setting := "rabbitmqadmin declare queue name="+e.Name+" durable=true", "--route-queue (HARK_ROUTE_QUEUE)"
	if e.Kind == "exchange" {
		declare, setting = "rabbitmqadmin declare exchange name="+e.Name+" type=topic durable=true", "--route-exchange (HARK_ROUTE_EXCHANGE)"
	}
	return fmt.Sprintf("rabbitmq: the %s %q of the route %q is not there: declare it, like %s, or correct %s; "+
		"Hark makes none that is to be somebody else's: %v", e.Kind, e.Name, e.Route, declare, setting, e.err)
}

func (e *MissingError) Unwrap() error { return e.err }

// look looks whether the target of a route is there. An error of the server's ends the channel, so
// each has its own.
func (t topology) look(g *generation, route string) error {
	target := t.targets[route]
	for _, at := range []struct {
		kind, name string
		passive    func(*amqp.Channel, string) error
	}{
		{"queue", target.Queue, func(ch *amqp.Channel, name string) error {
			_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			return err
		}},
		{"exchange", target.Exchange, func(ch *amqp.Channel, name string) error {
			// Whichever type is named, one of any is found.
			return ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, true, false, false, false, nil)
		}},
	} {
		if at.name == "" {
			continue
		}
		err := g.onChannel(func(ch *amqp.Channel) error {
			return g.call(func() error { return at.passive(ch, at.name) })
		})
		if notFound(err) {
			return &MissingError{at.kind, at.name, route, err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reach makes the way to the target of a route.
func (t topology) reach(g *generation, route string) error {
	if err := t.look(g, route); err != nil {
		return err
	}
	name := t.targets[route].Exchange
	if name == "" {
		return nil
	}
	return g.onChannel(func(ch *amqp.Channel) error {
		if err := exchangeDeclare(g, ch, t.outExchange(name), amqp.ExchangeFanout); err != nil {
			return err
		}
		return g.call(func() error { return ch.ExchangeBind(name, "", t.outExchange(name), false, nil) })
	})
}

// troubles are the routes whose target takes nothing, and when that was told last.
type troubles struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// remindEvery is how often it is told again that a target takes nothing.
const remindEvery = time.Minute

// note tells that the target of a route takes nothing.
func (t *troubles) note(route string, err error, log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := t.told[route]; known && time.Since(last) < remindEvery {
		return
	}
	if t.told == nil {
		t.told = make(map[string]time.Time)
	}
	t.told[route] = time.Now()
	log.Error("the work of a route does not reach its queue or exchange; what is submitted there is answered with 503, other routes go on",
		slog.String("route", route), slog.Any("error", err))
}

// over notes that it has taken something.
func (t *troubles) over(route string, log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.told[route]; known {
		delete(t.told, route)
		log.Info("the work of a route reaches its queue or exchange again", slog.String("route", route))
	}
}

// lookForTargets returns an error for each target that is missing, before anything is declared.
// Once the broker has begun, a target that is missing does not hold up the other routes.
func (b *Broker) lookForTargets(g *generation) error {
	if b.begun.Load() {
		return nil
	}
	var errs []error
	for _, route := range slices.Sorted(maps.Keys(b.topology.targets)) {
		errs = append(errs, b.topology.look(g, route))
	}
	return errors.Join(errs...)
}

// reachTargets makes the way to all targets, and tells of those that cannot be reached.
func (b *Broker) reachTargets(g *generation) {
	for _, route := range slices.Sorted(maps.Keys(b.topology.targets)) {
		if err := b.topology.reach(g, route); lasting(err) { // else the connection was lost
			b.troubles.note(route, err, b.log)
		}
	}
}

// Foreign reports whether somebody else's queue or exchange carries the work of a route.
func (b *Broker) Foreign(route string) bool { return b.topology.foreign(route) }

// Elsewhere reports whether only others consume the work of a route: it goes to an exchange, and no
// queue is named.
func (b *Broker) Elsewhere(route string) bool { return b.topology.queueOf(route) == "" }

// relayed is how many jobs of a route are handed on at the same time.
const relayed = 64

// Relay hands on to targets what has waited in Hark's own queues because it was not due, until ctx
// ends. Any number of processes may do that. What a target does not take is tried again; what is
// handed on twice, because a process died, is started once.
func (b *Broker) Relay(ctx context.Context) {
	var running sync.WaitGroup
	for route := range b.topology.targets {
		running.Go(func() {
			err := b.consume(ctx, []string{route}, relayed, true, func(d *delivery) { b.relay(ctx, d) })
			if err != nil && !errors.Is(err, broker.ErrClosed) {
				b.log.Error("delayed work of a route is not handed on any more", slog.String("route", route), slog.Any("error", err))
			}
		})
	}
	running.Wait()
}

// relay hands one job on. It is a message of its own then, as in [session.holdBack]; one that has
// come back keeps its name, because a processor may have begun by it before the route had a target.
func (b *Broker) relay(ctx context.Context, d *delivery) {
	next := d.job
	if !d.redelivered {
		next.Message = broker.NewMessage()
	}
	for try := 1; ; try++ {
		// Not the context of the Consume: whether it was handed on has to be known.
		err := b.send(context.WithoutCancel(ctx), next, d.redelivered)
		if err == nil {
			b.counts.deferred.Add(1)
			_ = d.Ack()
			return
		}
		select {
		case <-d.session.ended: // the server hands it out again
			return
		default:
		}
		if backoff.Wait(ctx, backoff.Exponential(try, 200*time.Millisecond, 10*time.Second)) != nil {
			_ = d.Return()
			return
		}
	}
}

// setAside deals with a message that is no job. A queue of Hark's has a dead queue behind it; from
// somebody else's a refused message may be gone, so a copy goes there first.
func (s *session) setAside(route string, m *amqp.Delivery) {
	if !s.foreign(route) {
		_ = s.channel.Reject(m.DeliveryTag, false)
		return
	}
	s.intake.Go(func() {
		copied := copyOf(m)
		for try := 1; ; try++ {
			if err := s.publish(context.WithoutCancel(s.ctx), s.topology.deadExchange(), route, copied); err == nil {
				_ = s.channel.Ack(m.DeliveryTag, false)
				return
			}
			timer := time.NewTimer(backoff.Exponential(try, 200*time.Millisecond, 10*time.Second))
			select {
			case <-timer.C:
				continue
			case <-s.ctx.Done():
				_ = s.channel.Nack(m.DeliveryTag, false, true)
			case <-s.ended:
			}
			timer.Stop()
			return
		}
	})
}
