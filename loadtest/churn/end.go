package churn

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// drain waits until all that is under way is done: requests have ended, whoever follows has seen
// it, and webhooks have arrived.
func (c *churn) drain(ctx context.Context, feeds []*follower) {
	done := make(chan struct{})
	go func() {
		c.under.Wait()
		close(done)
	}()
	if !until(ctx, func() bool { return c.ledger.open() == 0 }) {
		c.unfinished()
	}
	for _, f := range feeds {
		until(ctx, func() bool { _, behind := f.behind(); return !behind }) // checkFeed tells
	}
	// check tells what is missing after that.
	until(ctx, func() bool { missing, _ := c.receiver.missing(); return len(missing) == 0 })
	select {
	case <-done:
	case <-ctx.Done():
		c.conns.Lock()
		for conn := range c.conns.open {
			if strings.Contains(conn.name, " n=") {
				c.ledger.violate("%s has not seen the end", conn.name)
			}
		}
		c.conns.Unlock()
		c.ledger.violate("what clients do has not ended %v after the disturbances", c.Drain)
		c.letGo()
		<-done
	}
}

// unfinished says what has not ended, and where it stands.
func (c *churn) unfinished() {
	var open []*submission
	c.ledger.mu.Lock()
	for _, n := range slices.Sorted(maps.Keys(c.ledger.subs)) {
		if s := c.ledger.subs[n]; !c.ledger.isOver(s) {
			open = append(open, s)
		}
	}
	c.ledger.mu.Unlock()
	for i, s := range open {
		where := "unknown"
		c.ledger.mu.Lock()
		accepted, refs := s.accepted, slices.Clone(s.refs)
		c.ledger.mu.Unlock()
		if len(refs) > 0 && i < 20 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			a, err := c.try(ctx, 0, c.owners[s.owner].current(), call{method: "GET", path: "/v1/requests/" + refs[0].id})
			cancel()
			where = fmt.Sprint(a, err)
		}
		c.ledger.violate("n=%d (%s) %v has not ended %v after the disturbances; accepted: %v; it stands at %s", s.n, s.name, refs, c.Drain, accepted, where)
	}
}

// calm submits some more requests while nothing is disturbed, and compares what the gateways count
// with what was seen here.
func (c *churn) calm(ctx context.Context, feeds []*follower) {
	before, err := c.scrape(ctx)
	if err != nil {
		c.ledger.violate("metrics: %v", err)
		return
	}
	was := c.counted()
	r := c.random("calm")
	for i := range 24 {
		p := c.plan(r)
		p.delay, p.cancels, p.twice, p.forever, p.broken, p.again, p.size = 0, false, false, false, false, 0, 100
		p.attempts, p.timeout, p.want, p.codes = 20, c.timeout(), succeeded, nil
		p.name, p.route, p.silent, p.late, p.json = "in calm", routeLeased, 0, false, false
		if i%3 == 0 {
			p.route, p.silent = routeQuiet, 1
		}
		p.content, p.contentType, p.exact = fmt.Appendf(nil, `{"n":%d}`, p.n), "application/json", bytesFor(p.n, p.size)
		random := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		s := c.ledger.submit(p)
		if !c.send(ctx, random, s, false, false) {
			return
		}
		c.followRequest(ctx, random.Uint64(), s)
		c.under.Go(func() { c.verify(ctx, random, s) })
	}
	c.drain(ctx, feeds)
	// A gateway counts what it has done right behind it.
	var wrong []string
	same := func() bool {
		after, err := c.scrape(ctx)
		if err != nil {
			wrong = []string{err.Error()}
			return false
		}
		is := c.counted()
		wrong = nil
		for _, name := range slices.Sorted(maps.Keys(is)) {
			if gateways, here := total(after, name)-total(before, name), is[name]-was[name]; gateways != float64(here) {
				wrong = append(wrong, fmt.Sprintf("%s counts %v, and there were %d", name, gateways, here))
			}
		}
		return len(wrong) == 0
	}
	bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if !until(bounded, same) {
		for _, w := range wrong {
			c.ledger.violate("metrics, while nothing was disturbed: %s", w)
		}
	}
	c.ledger.checked("metrics that equal the counts", len(was))
}

// counted is what was seen here, by the name of the metric that counts the same.
func (c *churn) counted() map[string]int {
	c.receiver.mu.Lock()
	taken := c.receiver.taken
	c.receiver.mu.Unlock()
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	silent := 0
	for _, v := range c.ledger.lives {
		for _, e := range v.events {
			if e.code == "silent" && e.kind != "started" && e.kind != "progress" {
				silent++
			}
		}
	}
	return map[string]int{
		"hark_webhook_delivered_total": taken,
		"hark_leases_total":            c.ledger.done["attempts handed to HTTP workers"],
		"hark_leases_expired_total":    silent,
	}
}

// scrape returns the metrics of each gateway, by name with labels.
func (c *churn) scrape(ctx context.Context) ([]map[string]float64, error) {
	all := make([]map[string]float64, len(c.Gateways))
	for i := range c.Gateways {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Gateways[i].Addr+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		res, err := c.calls.Do(r)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return nil, err
		}
		all[i] = make(map[string]float64)
		for line := range strings.Lines(string(text)) {
			name, number, ok := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseFloat(number, 64); ok && err == nil && name != "#" {
				all[i][name] = n
			}
		}
	}
	return all, nil
}

func total(all []map[string]float64, name string) (sum float64) {
	for _, m := range all {
		sum += m[name]
	}
	return sum
}

// atRest waits until nothing is left of what was: no connection, no lease, no message, and no more
// goroutines than before.
func (c *churn) atRest(ctx context.Context, baseline []map[string]float64) {
	c.calls.CloseIdleConnections()
	// This closes those that dispatchers keep, which have goroutines.
	c.receiver.server.SetKeepAlivesEnabled(false)
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	var left []string
	if !until(ctx, func() bool {
		now, err := c.scrape(ctx)
		if err != nil {
			left = []string{err.Error()}
			return false
		}
		left = nil
		for i, m := range now {
			for _, name := range []string{`hark_connections{wire="sse"}`, `hark_connections{wire="websocket"}`, "hark_leases", "hark_lease_calls", "hark_webhook_sending"} {
				if m[name] != 0 {
					left = append(left, fmt.Sprintf("%s: %s is %v", c.Gateways[i].Name, name, m[name]))
				}
			}
			const slack = 30 // those of calls and of idle connections to servers come and go
			if is, was := m["go_goroutines"], baseline[i]["go_goroutines"]; is > was+slack {
				left = append(left, fmt.Sprintf("%s: %v goroutines, %v before", c.Gateways[i].Name, is, was))
			}
		}
		if c.Queues != nil {
			queues, err := c.Queues()
			if err != nil {
				left = append(left, err.Error())
			}
			for _, name := range slices.Sorted(maps.Keys(queues)) {
				if queues[name] != 0 {
					left = append(left, fmt.Sprintf("queue %s: %d messages", name, queues[name]))
				}
			}
		}
		return len(left) == 0
	}) {
		for _, l := range left {
			c.ledger.violate("at rest: %s", l)
		}
	}
	c.ledger.checked("gateways at rest", len(c.Gateways))
}

// memoryBound is what the gateways may hold at rest if they held so much the first time.
func memoryBound(first float64) float64 { return 2*first + 64<<20 }

// held returns what the gateways hold at rest. They give back what is free some time after a burst,
// so one that has been compared before is waited for as long as it is more than it may be. It
// returns zero if nobody knows.
func (c *churn) held(ctx context.Context, before []float64) (n float64, err error) {
	if c.Memory == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	until(ctx, func() bool {
		n, err = c.Memory()
		return err != nil || len(before) == 0 || n <= memoryBound(before[0])
	})
	return n, err
}

// checkMemory compares what the gateways hold behind the first part with what they hold behind the
// last.
func (c *churn) checkMemory(rounds []float64) {
	if len(rounds) < 2 {
		return
	}
	if first, last := rounds[0], rounds[len(rounds)-1]; last > memoryBound(first) {
		c.ledger.violate("the gateways hold %.0f MB at rest in the end, and held %.0f", last/(1<<20), first/(1<<20))
	}
	c.ledger.checked("times that memory was compared", len(rounds)-1)
}
