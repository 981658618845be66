package node

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/intake"
	"github.com/hark-push/hark/hub"
)

// places says how many connections of which kind a node takes on, 0 any number. Those of all kinds
// together leave a reserve of the process's descriptors to the store, the queue, webhooks and
// whatever else opens something.
type places struct {
	push      int // streams and WebSockets
	plain     int // plain HTTP, whoever is about to become a stream included
	all       int // both
	webhooks  int // webhook deliveries under way
	tooMany   int // push connections that were asked for beyond what the limit allows
	openFiles int // the limit; 0: none, or not known
}

// leastFiles is how many descriptors a gateway needs to be of any use.
const leastFiles = 256

// allot divides what a limit of open files allows. push and webhooks are what was configured, push
// 0 if that is left to this.
func allot(limit uint64, known bool, push, webhooks int) (places, error) {
	if !known {
		return places{push: push, webhooks: webhooks}, nil
	}
	if limit < leastFiles {
		return places{}, fmt.Errorf("this process may have only %d files and connections open, and a gateway needs %d at least, 20000 for many clients: "+
			"raise the limit with ulimit -n 20000 in the shell that starts it, LimitNOFILE=20000 in its systemd unit, or --ulimit nofile=20000 of docker run", limit, leastFiles)
	}
	const most = 1 << 24 // of an unlimited one
	n := int(min(limit, most))
	p := places{openFiles: n, webhooks: max(min(webhooks, n/16), 1)}
	p.all = n - 64 - n/25 - p.webhooks
	p.plain = p.all / 2
	room := p.all - min(p.all/8, 1000) // some are always left for who is no stream
	if p.push = push; push == 0 {
		p.push = room
	}
	p.tooMany = max(p.push-room, 0)
	return p, nil
}

// OpenFiles returns how many files a gateway may have open that this process would be; known is
// false where that is not known, or where there is no limit. An error says that they are too few.
func OpenFiles(c config.Config) (limit uint64, known bool, err error) {
	limit, known = openFiles()
	_, err = allot(limit, known, c.MaxConnections, c.WebhookSlots)
	return limit, known, err
}

// placesOf is allot for this process and a configuration. It says what does not fit.
func placesOf(c config.Config, log *slog.Logger) (places, error) {
	limit, known := openFiles()
	p, err := allot(limit, known, c.MaxConnections, c.WebhookSlots)
	if err != nil {
		return p, err
	}
	if p.tooMany > 0 {
		log.Warn("--max-connections is more than the limit of open files allows; raise that (ulimit -n, LimitNOFILE=), or lower it",
			slog.Int("max-connections", p.push), slog.Int("fits", p.push-p.tooMany), slog.Int("open files", p.openFiles))
	}
	if p.webhooks < c.WebhookSlots {
		log.Info("--webhook-slots is more than the limit of open files allows; fewer are used",
			slog.Int("webhook-slots", c.WebhookSlots), slog.Int("used", p.webhooks), slog.Int("open files", p.openFiles))
	}
	if c.MaxHTTP > 0 {
		p.plain = c.MaxHTTP
	}
	return p, nil
}

// share is a part of a whole that is for one caller or one address, if it was not configured: the
// rest is always left to others. What has no limit has no shares.
func share(configured, whole, part, of int) int {
	if configured > 0 || whole <= 0 {
		return configured
	}
	return max(whole*part/of, 1)
}

// newIntake returns the listener that counts plain connections.
func (g *Node) newIntake(l net.Listener) *intake.Listener {
	proxies := g.config.Proxies()
	return intake.New(l, intake.Options{
		Most: g.places.plain, PerAddress: share(g.config.MaxHTTPPerAddress, g.places.plain, 1, 2), All: g.places.all, Beside: g.pushed,
		Exempt: func(a netip.Addr) bool {
			return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
		},
		Secured: g.config.TLSCert != "", Logger: g.log,
	})
}

// pushed returns how many push connections there are.
func (g *Node) pushed() int {
	h := g.streams.Load()
	if h == nil {
		return 0
	}
	return h.Open()
}

// room reports whether the process has a descriptor for one more push connection, which nobody
// counts at the moment.
func (g *Node) room() bool {
	return g.places.all == 0 || g.intake.Stats().Open+g.pushed() < g.places.all
}

// admission adds to the options of the hub whom it takes on.
func (g *Node) admission(o hub.Options) hub.Options {
	c, most := g.config, g.places.push
	o.Connections, o.ConnectRate, o.Room = most, c.ConnectRate, g.room
	o.PerCaller, o.RatePerCaller = c.MaxPerCaller, c.ConnectRatePerCaller
	if c.Keyed() { // without keys everybody is the same caller
		o.PerCaller = share(c.MaxPerCaller, most, 1, 2)
		if o.RatePerCaller == 0 {
			o.RatePerCaller = c.ConnectRate / 2
		}
	}
	o.PerAddress = share(c.MaxPerAddress, most, 3, 4)
	if o.RatePerAddress = c.ConnectRatePerAddress; o.RatePerAddress == 0 {
		o.RatePerAddress = c.ConnectRate * 3 / 4
	}
	o.Unproven = share(c.MaxUnproven, most, 1, 8)
	o.UnprovenPerAddress = share(c.MaxUnprovenPerAddress, o.Unproven, 1, 4)
	return o
}

// calls returns the shares of calls.
func (g *Node) calls() api.Shares {
	c := g.config
	s := api.Shares{PerCaller: c.MaxCallsPerCaller, PerAddress: share(c.MaxCallsPerAddress, c.MaxCalls, 3, 4), Fields: c.RateLimitFields}
	if c.Keyed() {
		s.PerCaller = share(c.MaxCallsPerCaller, c.MaxCalls, 1, 2)
	}
	return s
}
