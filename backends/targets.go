package backends

import (
	"maps"
	"slices"
	"strings"

	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/lifecycle/suggest"
	"github.com/hark-push/hark/settings"
)

// Targets are the queues and exchanges of somebody else's in RabbitMQ that carry the work of routes
// in place of Hark's own. All processes that share a store need the same.
type Targets struct {
	RouteQueue    []string `env:"HARK_ROUTE_QUEUE" placeholder:"ROUTE=QUEUE,…" help:"Queues of RabbitMQ that are there already and carry the work of a route, like images=legacy.images. Hark does not declare or change them. Gateways and workers need the same."`
	RouteExchange []string `env:"HARK_ROUTE_EXCHANGE" placeholder:"ROUTE=EXCHANGE,…" help:"Exchanges of RabbitMQ that are there already and get the work of a route; processors consume the queue of --route-queue, without one only others do. Gateways and workers need the same."`
	RouteKey      []string `env:"HARK_ROUTE_KEY" placeholder:"ROUTE=KEY,…" help:"Routing key with which the work of a route is published to its exchange. Default: the route. Gateways and workers need the same."`
}

// ByRoute are the targets of the routes that have one. They were checked.
func (t *Targets) ByRoute() map[string]rabbitmq.Target {
	targets := make(map[string]rabbitmq.Target)
	for route, queue := range pairs(t.RouteQueue) {
		targets[route] = rabbitmq.Target{Queue: queue}
	}
	keys := pairs(t.RouteKey)
	for route, exchange := range pairs(t.RouteExchange) {
		target := targets[route]
		target.Exchange, target.Key = exchange, keys[route]
		targets[route] = target
	}
	return targets
}

// pairs reads entries like ROUTE=NAME.
func pairs(entries []string) map[string]string {
	all := make(map[string]string, len(entries))
	for _, entry := range entries {
		route, name, _ := strings.Cut(entry, "=")
		all[route] = name
	}
	return all
}

// CheckRoutes returns a [*settings.Error] unless each entry is of one of the routes.
func (t *Targets) CheckRoutes(routes []string) error {
	for key, entries := range map[string][]string{"route-queue": t.RouteQueue, "route-exchange": t.RouteExchange, "route-key": t.RouteKey} {
		for _, entry := range entries {
			if route, _, _ := strings.Cut(entry, "="); !slices.Contains(routes, route) {
				return settings.NotAllowed(key, entry, "a route of --routes"+suggest.Mean(route, routes)+": "+strings.Join(routes, ", "))
			}
		}
	}
	return nil
}

// checkTargets is the part of [Options.Check] that is about them.
func (t *Targets) checkTargets(amqp, prefix string) error {
	for _, flag := range []struct {
		key, what string
		entries   []string
	}{
		{"route-queue", "ROUTE=QUEUE, like images=legacy.images", t.RouteQueue},
		{"route-exchange", "ROUTE=EXCHANGE, like images=pictures", t.RouteExchange},
		{"route-key", "ROUTE=KEY, like images=pictures.high", t.RouteKey},
	} {
		seen := make(map[string]bool)
		for _, entry := range flag.entries {
			route, name, _ := strings.Cut(entry, "=")
			switch {
			case amqp == "":
				return settings.NotAllowed(flag.key, entry, "--redis and --amqp beside it, or nothing: it is about queues and exchanges of RabbitMQ")
			case route == "" || !rabbitmq.ValidName(name):
				return settings.NotAllowed(flag.key, entry, flag.what+", with a name of "+rabbitmq.NamesOf)
			case flag.key != "route-key" && strings.HasPrefix(name, prefix+"."):
				return settings.NotAllowed(flag.key, entry, "a name that does not begin with "+prefix+"., which are Hark's own (--prefix)")
			case seen[route]:
				return settings.NotAllowed(flag.key, entry, "each route once")
			}
			seen[route] = true
		}
	}
	exchanges, owners := pairs(t.RouteExchange), make(map[string]string)
	for _, entry := range t.RouteKey {
		if route, _, _ := strings.Cut(entry, "="); exchanges[route] == "" {
			return settings.NotAllowed("route-key", entry, "--route-exchange "+route+"=EXCHANGE beside it: a queue is published to by its name")
		}
	}
	queues := pairs(t.RouteQueue)
	for _, route := range slices.Sorted(maps.Keys(queues)) {
		queue := queues[route]
		if other, taken := owners[queue]; taken {
			return settings.NotAllowed("route-queue", route+"="+queue, "a queue of its own: "+other+" has that one, and who consumes it would get the work of both")
		}
		owners[queue] = route
	}
	return nil
}
