package churn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// reuse returns an actor that uses one id again and again: it submits, waits for the end, has the
// request forgotten, and begins anew.
func (c *churn) reuse(number int) func(context.Context, *rand.Rand) {
	return func(disturbing context.Context, r *rand.Rand) {
		id := fmt.Sprintf("again-%d-%d", c.Seed%1000, number)
		ctx := c.lasting
		var former *submission
		for pause(disturbing, between(r, 0, 500*time.Millisecond)) {
			p := c.plan(r)
			p.id, p.owner, p.retention, p.webhook, p.slot, p.batch = id, number%owners, time.Second, "", true, false
			if p.delay > time.Second {
				p.delay = time.Second
			}
			s := c.ledger.submit(p)
			if !c.send(ctx, r, s, false, false) {
				return
			}
			if former != nil {
				c.ledger.count("ids used again")
				c.haunt(ctx, r, former, s)
			}
			if one(r, 2) {
				c.followRequest(ctx, r.Uint64(), s)
			}
			if p.cancels {
				pause(ctx, min(p.cancel, 500*time.Millisecond))
				c.cancelSlot(ctx, r, s)
			}
			bounded, cancel := context.WithTimeout(ctx, c.Duration+c.Drain)
			over := until(bounded, func() bool { return c.ledger.over(s) })
			cancel()
			if !over {
				return // which the end of the run tells
			}
			c.outcome(ctx, r, s)
			if !c.forget(ctx, r, s) {
				return
			}
			former = s
		}
	}
}

// cancelSlot is cancel, of a request that may be gone already.
func (c *churn) cancelSlot(ctx context.Context, r *rand.Rand, s *submission) {
	if c.ledger.over(s) {
		return
	}
	c.ledger.mu.Lock()
	s.askedToCancel = true
	c.ledger.done["asked to cancel"]++
	c.ledger.mu.Unlock()
	a, err := c.ask(ctx, r, c.owners[s.owner], call{method: "POST", path: "/v1/requests/" + s.id + "/cancel"})
	if err != nil {
		return
	}
	switch a.status {
	case http.StatusOK:
		c.ledger.mu.Lock()
		s.canceled = true
		c.ledger.mu.Unlock()
	case http.StatusAccepted, http.StatusConflict, http.StatusNotFound:
	default:
		c.ledger.violate("n=%d %s: cancel is answered with %v", s.n, s.id, a)
	}
}

// forget deletes a request that has ended, or waits until its retention is over.
func (c *churn) forget(ctx context.Context, r *rand.Rand, s *submission) bool {
	if one(r, 2) {
		c.ledger.count("requests deleted")
		c.ledger.forgets(s, true)
		a, err := c.ask(ctx, r, c.owners[s.owner], call{method: "DELETE", path: "/v1/requests/" + s.id})
		if err != nil {
			return false
		}
		if a.status != http.StatusNoContent && a.status != http.StatusNotFound {
			c.ledger.violate("n=%d %s: DELETE is answered with %v after its end", s.n, s.id, a)
			return false
		}
		return true
	}
	c.ledger.count("requests left to their retention")
	c.ledger.forgets(s, false)
	for began := time.Now(); time.Since(began) < time.Minute; {
		a, err := c.ask(ctx, r, c.owners[s.owner], call{method: "GET", path: "/v1/requests/" + s.id})
		if err != nil {
			return false
		}
		if a.status == http.StatusNotFound {
			return true
		}
		pause(ctx, 100*time.Millisecond)
	}
	c.ledger.violate("n=%d %s: it is still there a minute after its retention of a second", s.n, s.id)
	return false
}

// haunt has those come that are left of a request's former life: a worker that reports, and a
// follower with its cursor.
func (c *churn) haunt(ctx context.Context, r *rand.Rand, former, now *submission) {
	was, _ := c.ledger.outcome(former)
	is, _ := c.ledger.outcome(now)
	if was == is {
		c.ledger.violate("n=%d and n=%d: both are %s", former.n, now.n, is)
		return
	}
	for _, k := range []call{
		{method: "PUT", path: "result", contentType: "text/plain", body: []byte("of a former life")},
		{method: "POST", path: "progress"},
		failure(former, "former", false),
	} {
		c.ledger.count("reports for a former life")
		k.path = fmt.Sprintf("/v1/work/%s/%s?attempt=%d&life=%s", was.id, k.path, 1+r.IntN(2), was.life)
		a, err := c.ask(ctx, r, c.workers[r.IntN(processors)], k)
		if err != nil {
			return
		}
		if a.status != http.StatusNotFound {
			c.ledger.violate("n=%d %s: a report for it is answered with %v, although the id is that of %s", former.n, was, a, is)
		}
		c.ledger.checked("reports for a former life refused", 1)
	}
	c.followFormer(ctx, r.Uint64(), now, was)
}
