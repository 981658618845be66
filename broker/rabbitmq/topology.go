package rabbitmq

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// topology is what exists on the server. It does not change.
type topology struct {
	prefix  string
	routes  []string
	targets map[string]Target // of those that have one
	options Options
}

func newTopology(routes []string, o Options) (topology, error) {
	t := topology{prefix: o.Prefix, routes: slices.Compact(slices.Sorted(slices.Values(routes))), targets: make(map[string]Target), options: o}
	for _, route := range t.routes {
		if route == "" || len(t.workQueue(route)) > maxKey {
			return t, fmt.Errorf("rabbitmq: route %q: the name of its queue must not exceed %d bytes", route, maxKey)
		}
		if target, ok := o.Targets[route]; ok {
			t.targets[route] = target
		}
	}
	if err := t.checkTargets(); err != nil {
		return t, err
	}
	if o.CallbackExchange != "" && !ValidExchange(o.CallbackExchange) {
		return t, fmt.Errorf("rabbitmq: callback exchange %q: want %s", o.CallbackExchange, ExchangeNames)
	}
	if o.DeliveryLimit < 1 || o.MaxWaiting < 0 || o.Delays[0] < time.Millisecond || o.Heartbeat < time.Second ||
		o.PublishTimeout < 0 || o.DeadRetention < time.Millisecond {
		return t, errors.New("rabbitmq: options out of range: DeliveryLimit from 1, MaxWaiting from 0, Delays and DeadRetention from 1ms, Heartbeat from 1s")
	}
	return t, nil
}

func (t topology) workExchange() string             { return t.prefix + ".work" }
func (t topology) workQueue(route string) string    { return t.prefix + ".work." + route }
func (t topology) deadExchange() string             { return t.prefix + ".dead" }
func (t topology) deadQueue(route string) string    { return t.prefix + ".dead." + route }
func (t topology) delay(step time.Duration) string  { return t.prefix + ".delay." + stepName(step) }
func (t topology) urgent(step time.Duration) string { return t.delay(step) + ".urgent" }

// stepName is a duration without the zero units that String writes: 10m, not 10m0s.
func stepName(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (t topology) knows(route string) bool {
	_, found := slices.BinarySearch(t.routes, route)
	return found
}

// left returns how long a job has to wait from now on.
func (t topology) left(notBefore time.Time) time.Duration { return notBefore.Sub(t.options.Now()) }

// exchangeFor returns where a job goes: to work, or to the longest delay step that
// is not too long. Less than the shortest step is left to the consumer.
func (t topology) exchangeFor(j broker.Job) string {
	wait := t.left(j.NotBefore)
	for _, step := range slices.Backward(t.options.Delays) {
		switch {
		case step > wait:
		case j.Priority > 0:
			return t.urgent(step)
		default:
			return t.delay(step)
		}
	}
	return t.workExchange()
}

// queue is a queue with its arguments.
type queue struct {
	name, exchange, key string
	arguments           amqp.Table
}

func (t topology) routeQueues(route string) []queue {
	work := amqp.Table{
		amqp.QueueTypeArg:        amqp.QueueTypeQuorum,
		"x-delivery-limit":       int64(t.options.DeliveryLimit),
		"x-dead-letter-exchange": t.deadExchange(),
		"x-dead-letter-strategy": "at-least-once", // needs reject-publish
		amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
	}
	if t.options.MaxWaiting > 0 {
		work[amqp.QueueMaxLenArg] = int64(t.options.MaxWaiting)
	}
	return []queue{
		// The dead queue first: dead letters of the other need it.
		{t.deadQueue(route), t.deadExchange(), route, amqp.Table{
			amqp.QueueTypeArg:       amqp.QueueTypeQuorum,
			amqp.QueueMessageTTLArg: t.options.DeadRetention.Milliseconds(),
		}},
		{t.workQueue(route), t.workExchange(), route, work},
	}
}

// delayQueues are those of a step. All messages of one have the same time to live, since one that
// differs would hold back what is behind it; and the same rank: RabbitMQ 4.0 to 4.2 look for what
// has lived long enough at the head alone, where of two ranks the higher stands for most of the
// time.
func (t topology) delayQueues(step time.Duration) []queue {
	var queues []queue
	for _, name := range []string{t.delay(step), t.urgent(step)} {
		queues = append(queues, queue{name, name, "", amqp.Table{
			amqp.QueueTypeArg:        amqp.QueueTypeQuorum,
			amqp.QueueMessageTTLArg:  step.Milliseconds(),
			"x-dead-letter-exchange": t.workExchange(),
			"x-dead-letter-strategy": "at-least-once",
			amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
		}})
	}
	return queues
}

// declare makes everything exist, or nothing if a queue exists with other settings.
func (t topology) declare(g *generation) error {
	if err := t.compare(g); err != nil {
		return err
	}
	if err := t.declareRoutes(g, t.routes); err != nil {
		return err
	}
	return g.onChannel(func(ch *amqp.Channel) error {
		for _, step := range t.options.Delays {
			for _, q := range t.delayQueues(step) {
				if err := exchangeDeclare(g, ch, q.exchange, amqp.ExchangeFanout); err != nil {
					return err
				}
				if err := q.declare(g, ch); err != nil {
					return err
				}
			}
		}
		// After those of the jobs, so that a name of theirs is told as a mismatch.
		if name := t.options.CallbackExchange; name != "" {
			return exchangeDeclare(g, ch, name, amqp.ExchangeTopic)
		}
		return nil
	})
}

// compare holds the queues that exist against what they should be: declaring one
// again changes nothing.
//
// To ask for a queue that does not exist costs the channel, and a line of level error
// in the server's log. So they are asked for in groups, whose first one tells of the
// others, and none is where the exchange of the work is missing: that is a first start,
// which would fill the log of a new server.
func (t topology) compare(g *generation) error {
	err := g.onChannel(func(ch *amqp.Channel) error {
		return g.call(func() error {
			return ch.ExchangeDeclarePassive(t.workExchange(), amqp.ExchangeDirect, true, false, false, false, nil)
		})
	})
	switch {
	case notFound(err):
		return t.makeQueues(g)
	case err != nil:
		return err
	}
	for _, group := range t.groups() {
		err := g.onChannel(func(ch *amqp.Channel) error {
			for _, q := range group {
				if err := g.call(func() error {
					_, err := ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
					return err
				}); err != nil {
					return err
				}
				if _, err := q.make(g, ch); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !notFound(err) {
			return err
		}
	}
	return nil
}

func notFound(err error) bool {
	refusal, ok := errors.AsType[*amqp.Error](err)
	return ok && refusal.Code == amqp.NotFound
}

// groups are all queues, of which those of a group are made together.
func (t topology) groups() [][]queue {
	var plain, urgent []queue
	for _, step := range t.options.Delays {
		queues := t.delayQueues(step)
		plain, urgent = append(plain, queues[0]), append(urgent, queues[1])
	}
	groups := [][]queue{plain, urgent}
	for _, route := range t.routes {
		queues := t.routeQueues(route)
		slices.Reverse(queues) // first that of the work, whose name others might use
		groups = append(groups, queues)
	}
	return groups
}

// makeQueues makes all queues where nothing of Hark is known to be. If it meets one with
// other settings, those that it has made go again; AMQP does not say which that are, so
// they are those in which nothing is and which nobody consumes.
func (t topology) makeQueues(g *generation) error {
	var empty []string
	err := g.onChannel(func(ch *amqp.Channel) error {
		for _, q := range slices.Concat(t.groups()...) {
			state, err := q.make(g, ch)
			if err != nil {
				return err
			}
			if state.Messages == 0 && state.Consumers == 0 {
				empty = append(empty, q.name)
			}
		}
		return nil
	})
	if _, ok := errors.AsType[*MismatchError](err); !ok {
		return err
	}
	return errors.Join(err, g.onChannel(func(ch *amqp.Channel) error {
		for _, name := range empty {
			// Quorum queues know no condition for it (if-empty, if-unused).
			if err := g.call(func() error { _, err := ch.QueueDelete(name, false, false, false); return err }); err != nil {
				return fmt.Errorf("rabbitmq: removing the queue %q, which was made before: %w", name, err)
			}
		}
		return nil
	}))
}

// declareRoutes makes what consumers of the routes need exist.
func (t topology) declareRoutes(g *generation, routes []string) error {
	return g.onChannel(func(ch *amqp.Channel) error {
		for _, exchange := range []string{t.deadExchange(), t.workExchange()} {
			if err := exchangeDeclare(g, ch, exchange, amqp.ExchangeDirect); err != nil {
				return err
			}
		}
		for _, route := range routes {
			for _, q := range t.routeQueues(route) {
				if err := q.declare(g, ch); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func exchangeDeclare(g *generation, ch *amqp.Channel, name, kind string) error {
	return mismatch("exchange", name, g.call(func() error {
		return ch.ExchangeDeclare(name, kind, true, false, false, false, nil)
	}))
}

func (q queue) make(g *generation, ch *amqp.Channel) (state amqp.Queue, err error) {
	err = g.call(func() (err error) {
		state, err = ch.QueueDeclare(q.name, true, false, false, false, q.arguments)
		return err
	})
	return state, mismatch("queue", q.name, err)
}

func (q queue) declare(g *generation, ch *amqp.Channel) error {
	if _, err := q.make(g, ch); err != nil {
		return err
	}
	return g.call(func() error { return ch.QueueBind(q.name, q.key, q.exchange, false, nil) })
}

// MismatchError says that a queue or an exchange exists with other settings than
// the options ask for.
type MismatchError struct {
	Kind, Name          string // "queue" or "exchange", and its name
	Setting, Want, Have string // the server's name of the setting; all "" if it did not say
	err                 error
}

func (e *MismatchError) Error() string {
	differs := e.err.Error()
	if e.Setting != "" {
		differs = fmt.Sprintf("its %s is %s, and the options here ask for %s", e.Setting, e.Have, e.Want)
	}
	if e.Kind == "exchange" {
		return fmt.Sprintf("rabbitmq: the exchange %q exists with other settings: %s. Choose another name, "+
			"or delete it (rabbitmqadmin delete exchange name=%s) and start again", e.Name, differs, e.Name)
	}
	return fmt.Sprintf("rabbitmq: the %s %q exists with other settings: %s. Give every gateway and processor the same options, "+
		"or let the queue run empty, delete it (rabbitmqctl delete_queue %s) and start again", e.Kind, e.Name, differs, e.Name)
}

func (e *MismatchError) Unwrap() error { return e.err }

var inequivalent = regexp.MustCompile(`inequivalent arg '([^']+)'.*received (?:the value )?(.+) but current is (?:the value )?(.+)$`)

// mismatch words the server's refusal to declare what exists otherwise.
func mismatch(kind, name string, err error) error {
	refusal, ok := errors.AsType[*amqp.Error](err)
	if !ok || refusal.Code != amqp.PreconditionFailed {
		return err
	}
	e := &MismatchError{Kind: kind, Name: name, err: err}
	if m := inequivalent.FindStringSubmatch(refusal.Reason); m != nil {
		e.Setting, e.Want, e.Have = m[1], plain(m[2]), plain(m[3])
	}
	return e
}

var quoted = regexp.MustCompile(`^'([^']*)'(?: of type .*)?$`)

// plain takes a value out of the server's words for it.
func plain(s string) string {
	if s == "none" {
		return "not set"
	}
	if m := quoted.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return s
}
