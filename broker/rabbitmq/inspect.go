package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Inspection is what one server says of itself.
type Inspection struct {
	Addr    string
	Version string // like 4.1.0; "" if it does not say
	// Wrong are what keeps [New] from working with it: [*RefusedError], [*MismatchError],
	// [*MissingError], or what the library says.
	Wrong []error
	// Made reports whether what Hark declares is there.
	Made bool
}

// Supported reports whether the server is RabbitMQ 3.10 or newer. A version that cannot be read is.
func (i Inspection) Supported() bool {
	var major, minor int
	if _, err := fmt.Sscanf(i.Version, "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major > 3 || major == 3 && minor >= 10
}

// Inspect asks each of the servers whether [New] would work with it, and makes nothing there but a
// queue of its own, which goes with its connection and shows whether the user may. Where a queue
// of Hark's is not there yet, the server's log has a line of that. An error is one of the
// arguments; what is wrong with a server is in its [Inspection].
func Inspect(ctx context.Context, urls, routes []string, o Options) ([]Inspection, error) {
	b, servers, err := unconnected(urls, routes, o)
	if err != nil {
		return nil, err
	}
	var found []Inspection
	for _, s := range servers {
		found = append(found, b.inspect(ctx, s))
	}
	return found, nil
}

func (b *Broker) inspect(ctx context.Context, s server) Inspection {
	i := Inspection{Addr: s.addr}
	wrong := func(err error) {
		if err != nil {
			i.Wrong = append(i.Wrong, s.refused(err))
		}
	}
	conn, socket, err := b.dial(ctx, s, "inspect")
	if err != nil {
		wrong(err)
		return i
	}
	i.Version, _ = conn.Properties["version"].(string)
	g := &generation{link: newLink("inspect", b, []server{s}, nil), conn: conn, socket: socket, ended: make(chan struct{})}
	g.watch()
	defer func() { _ = g.close() }()
	if !i.Supported() {
		return i
	}
	for _, route := range b.topology.routes {
		if b.topology.foreign(route) {
			wrong(b.topology.look(g, route))
		}
	}
	for _, q := range slices.Concat(b.topology.groups()...) {
		there, err := q.compare(g)
		i.Made = i.Made || there
		wrong(err)
		if _, refused := errors.AsType[*RefusedError](s.refused(err)); refused {
			return i // so would the others be
		}
	}
	wrong(b.try(g))
	return i
}

// compare holds a queue, if it is there, against what it should be.
func (q queue) compare(g *generation) (there bool, err error) {
	err = g.onChannel(func(ch *amqp.Channel) error {
		if err := g.call(func() error {
			_, err := ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
			return err
		}); err != nil {
			return err
		}
		there = true
		_, err := q.make(g, ch) // which changes nothing where there is one
		return err
	})
	if notFound(err) {
		return false, nil
	}
	return there, err
}

// try does what Hark has to be allowed to, with a queue that goes with its connection: configures,
// writes and reads.
func (b *Broker) try(g *generation) error {
	name := b.options.Prefix + ".doctor." + strings.ToLower(rand.Text()[:10])
	return g.onChannel(func(ch *amqp.Channel) error {
		return g.call(func() error {
			if _, err := ch.QueueDeclare(name, false, true, true, false, nil); err != nil {
				return err
			}
			if _, _, err := ch.Get(name, true); err != nil {
				return err
			}
			_, err := ch.QueueDelete(name, false, false, false)
			return err
		})
	})
}
