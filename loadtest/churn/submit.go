package churn

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// submitSingles submits requests at the rate until ctx ends, and has others do with each what comes
// to clients' minds.
func (c *churn) submitSingles(ctx context.Context, r *rand.Rand) {
	gap := time.Duration(float64(time.Second) / c.Rate)
	slots := make(chan struct{}, 64)
	for pause(ctx, between(r, gap/2, gap*3/2)) {
		p, random := c.plan(r), rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		slots <- struct{}{}
		c.under.Go(func() {
			defer func() { <-slots }()
			c.live(random, p)
		})
	}
}

// live submits a request and does what goes with it. What runs on is counted in c.under.
func (c *churn) live(r *rand.Rand, p plan) {
	lasting := c.lasting // what has begun is done
	s := c.ledger.submit(p)
	keyed := one(r, 3)
	if !c.send(lasting, r, s, keyed, one(r, 8)) {
		return
	}
	if keyed && one(r, 2) {
		c.repeat(lasting, r, s)
	}
	if p.cancels {
		random := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		c.under.Go(func() {
			pause(lasting, p.cancel)
			c.cancel(lasting, random, s)
		})
	}
	if one(r, 2) {
		c.followRequest(lasting, r.Uint64(), s)
	}
	if one(r, 4) {
		random := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		c.under.Go(func() { c.poll(lasting, random, s) })
	}
	random := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
	c.under.Go(func() { c.verify(lasting, random, s) })
}

// idempotencyKey is the key of a submission.
func idempotencyKey(s *submission) []string {
	return []string{"Idempotency-Key", fmt.Sprintf("key-%d", s.n), "Prefer", "respond-async"}
}

// send submits until it is accepted, and returns whether that is so.
func (c *churn) send(ctx context.Context, r *rand.Rand, s *submission, keyed, wait bool) bool {
	k := s.call(c)
	k.header = []string{"Prefer", "respond-async"}
	if keyed {
		k.header = idempotencyKey(s)
		c.ledger.mu.Lock()
		s.keyed = true
		c.ledger.mu.Unlock()
	} else if wait {
		k.header[1] = fmt.Sprintf("wait=%d", 1+r.IntN(4))
		c.ledger.count("calls that waited for the end")
	}
	for {
		a, err := c.ask(ctx, r, c.owners[s.owner], k)
		if err != nil {
			return false
		}
		switch {
		case a.status == http.StatusAccepted:
			var d document
			if err := json.Unmarshal(a.body, &d); err != nil {
				c.ledger.violate("n=%d: %v: %v", s.n, err, a)
				return false
			}
			c.ledger.accept(s, d.ref(), a.unknown)
			return true
		case a.status == http.StatusConflict && strings.HasSuffix(a.problem(), "idempotency-key-in-progress"):
			c.ledger.count("keys still in progress")
			pause(ctx, 200*time.Millisecond)
			c.ledger.mu.Lock()
			s.unknown += a.unknown
			c.ledger.mu.Unlock()
			continue
		case a.status == http.StatusConflict && strings.HasSuffix(a.problem(), "id-taken"):
			c.ledger.mu.Lock()
			defer c.ledger.mu.Unlock()
			c.ledger.wrongly("n=%d: the id %s is taken, although it was free", s.n, s.id)
			s.gaveUp = true
			return false
		}
		return c.answered(s, a)
	}
}

// answered takes the end of a request, as a call that waited for it gets it.
func (c *churn) answered(s *submission, a answer) bool {
	var problem struct{ RequestID, Code string }
	_ = json.Unmarshal(a.body, &problem)
	id := problem.RequestID
	kind := ""
	switch {
	case a.status == http.StatusOK || a.status == http.StatusNoContent:
		kind = succeeded
		if location := a.header.Get("Operation-Location"); location != "" {
			id = location[strings.LastIndexByte(location, '/')+1:]
		}
		if !s.right(a.body) {
			c.ledger.violate("n=%d %s: the call that waited got another result, of %d bytes: %.100q", s.n, id, len(a.body), a.body)
		}
		c.ledger.checked("results, byte for byte", 1)
	case strings.HasSuffix(a.problem(), "request-failed"):
		kind = failed
	case strings.HasSuffix(a.problem(), "request-canceled"):
		kind = canceled
	case strings.HasSuffix(a.problem(), "request-expired"):
		kind = expired
	}
	if kind == "" || id == "" {
		c.ledger.violate("n=%d: the submission is answered with %v", s.n, a)
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		s.gaveUp = true
		return false
	}
	c.ledger.mu.Lock()
	s.answered = kind
	c.ledger.mu.Unlock()
	if s.id == "" { // Hark made it, so it has no life
		c.ledger.accept(s, ref{id: id}, a.unknown)
		return true
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	s.accepted, s.unknown = true, s.unknown+a.unknown
	return true
}

// repeat submits with the same key again, which has to be answered as the first time, and with the
// key and another body, which is refused.
func (c *churn) repeat(ctx context.Context, r *rand.Rand, s *submission) {
	c.ledger.count("idempotency keys repeated")
	k := s.call(c)
	k.header = idempotencyKey(s)
	a, err := c.ask(ctx, r, c.owners[s.owner], k)
	if err != nil {
		return
	}
	var d document
	_ = json.Unmarshal(a.body, &d)
	c.ledger.mu.Lock()
	if a.status != http.StatusAccepted || len(s.refs) == 0 || d.ref() != s.refs[0] {
		c.ledger.wrongly("n=%d: the same key and body again are answered with %v, not %v", s.n, a, s.refs)
	}
	c.ledger.mu.Unlock()
	if s.contentType != "application/json" {
		return
	}
	other := s.plan
	other.content = []byte(`"another"`)
	k.body = other.document(c)
	if a, err = c.ask(ctx, r, c.owners[s.owner], k); err == nil && a.status != http.StatusUnprocessableEntity {
		c.ledger.violate("n=%d: the same key with another body is answered with %v", s.n, a)
	}
}

// cancel asks for the end of a request.
func (c *churn) cancel(ctx context.Context, r *rand.Rand, s *submission) {
	c.ledger.mu.Lock()
	if len(s.refs) == 0 && s.id == "" {
		c.ledger.mu.Unlock()
		return
	}
	id := s.id
	if id == "" {
		id = s.refs[0].id
	}
	s.askedToCancel = true
	for _, m := range s.members {
		m.askedToCancel = true
	}
	c.ledger.done["asked to cancel"]++
	c.ledger.mu.Unlock()
	a, err := c.ask(ctx, r, c.owners[s.owner], call{method: "POST", path: "/v1/requests/" + id + "/cancel"})
	if err != nil {
		return
	}
	switch a.status {
	case http.StatusOK:
		c.ledger.mu.Lock()
		s.canceled = true
		c.ledger.mu.Unlock()
	case http.StatusAccepted, http.StatusConflict:
	default:
		c.ledger.violate("n=%d %s: cancel is answered with %v", s.n, id, a)
	}
}

// poll asks where a request stands until it has ended.
func (c *churn) poll(ctx context.Context, r *rand.Rand, s *submission) {
	id, tag, last := c.idOf(s), "", 0
	c.ledger.count("pollers")
	for {
		k := call{method: "GET", path: "/v1/requests/" + id, header: []string{"Prefer", fmt.Sprintf("wait=%d", r.IntN(4))}}
		if tag != "" {
			k.header = append(k.header, "If-None-Match", tag)
		}
		a, err := c.ask(ctx, r, c.owners[s.owner], k)
		switch {
		case err != nil:
			return
		case a.status == http.StatusNotModified:
			continue
		case a.status != http.StatusOK:
			c.ledger.violate("n=%d %s: a poller is answered with %v", s.n, id, a)
			return
		}
		var d document
		if err := json.Unmarshal(a.body, &d); err != nil || d.Sequence < last {
			c.ledger.violate("n=%d %s: sequence %d after %d: %v", s.n, id, d.Sequence, last, err)
			return
		}
		if tag, last = a.header.Get("ETag"), d.Sequence; !terminal(d.Status) {
			continue
		}
		// All that happened, for who polls.
		if a, err = c.ask(ctx, r, c.owners[s.owner], call{method: "GET", path: "/v1/requests/" + id + "/history"}); err != nil {
			return
		}
		var h struct {
			Events    []json.RawMessage
			Offset    int
			Recovered bool
		}
		if err := json.Unmarshal(a.body, &h); err != nil || a.status != http.StatusOK || !h.Recovered || len(h.Events) != d.Sequence {
			c.ledger.violate("n=%d %s: %d events, and its history is %v", s.n, id, d.Sequence, a)
			return
		}
		for i, raw := range h.Events {
			if _, seq, _, err := c.ledger.observe("history", c.owners[s.owner].subject, raw); err != nil || seq != i+1 {
				c.ledger.violate("n=%d %s: event %d of the history: %d %v", s.n, id, i+1, seq, err)
			}
		}
		c.ledger.checked("pollers that saw the end", 1)
		return
	}
}

func (c *churn) idOf(s *submission) string {
	if s.id != "" {
		return s.id
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return s.refs[0].id
}

// verify waits for the end of a request and looks at its document and its result.
func (c *churn) verify(ctx context.Context, r *rand.Rand, s *submission) {
	ctx, cancel := context.WithTimeout(ctx, c.Duration+c.Drain)
	defer cancel()
	if !until(ctx, func() bool { return c.ledger.over(s) }) {
		return // which the end of the run tells
	}
	c.outcome(ctx, r, s)
}

// outcome compares document and result of a request that has ended with its last event.
func (c *churn) outcome(ctx context.Context, r *rand.Rand, s *submission) {
	of, kind := c.ledger.outcome(s)
	a, err := c.ask(ctx, r, c.owners[s.owner], call{method: "GET", path: "/v1/requests/" + of.id})
	if err != nil || a.status == http.StatusNotFound && s.slot {
		return
	}
	var d document
	if err := json.Unmarshal(a.body, &d); err != nil || a.status != http.StatusOK || d.ref() != of || d.Status != kind {
		c.ledger.violate("n=%d %s ended as %s, and its document is %v", s.n, of, kind, a)
		return
	}
	c.ledger.checked("documents", 1)
	if one(r, 4) { // to everybody else it is not there
		other := c.owners[(s.owner+1)%owners]
		if a, err = c.ask(ctx, r, other, call{method: "GET", path: "/v1/requests/" + of.id}); err != nil {
			return
		}
		if a.status != http.StatusNotFound {
			c.ledger.violate("n=%d %s: %s is shown what is %s's: %v", s.n, of, other.subject, c.owners[s.owner].subject, a)
		}
		c.ledger.checked("requests hidden from others", 1)
	}
	if s.batch {
		return
	}
	a, err = c.ask(ctx, r, c.owners[s.owner], call{method: "GET", path: "/v1/requests/" + of.id + "/result"})
	if err != nil || a.status == http.StatusNotFound && s.slot {
		return
	}
	want := map[string]int{succeeded: http.StatusOK, failed: http.StatusInternalServerError, canceled: http.StatusConflict, expired: http.StatusGatewayTimeout}[kind]
	if a.status == http.StatusNoContent && kind == succeeded && len(s.exact) == 0 {
		want = http.StatusNoContent
	}
	if a.status != want || kind == succeeded && !s.right(a.body) {
		c.ledger.violate("n=%d %s (%s) ended as %s, and its result is %d, %d bytes, not the %d that were reported", s.n, of, s.name, kind, a.status, len(a.body), len(s.exact))
		return
	}
	if kind == succeeded {
		c.ledger.checked("results, byte for byte", 1)
		c.ledger.checked("bytes of results", len(a.body))
	}
}

// submitBatches submits batches until ctx ends.
func (c *churn) submitBatches(ctx context.Context, r *rand.Rand) {
	for pause(ctx, between(r, 500*time.Millisecond, 4*time.Second)) {
		n := c.next()
		p := plan{n: n, name: "batch", batch: true, owner: r.IntN(owners), id: fmt.Sprintf("batch-%d-%d", c.Seed%1000, n), retention: c.retention(10 * time.Minute)}
		var members []plan
		var bodies []json.RawMessage
		for range 1 + r.IntN(6) {
			m := c.plan(r)
			m.owner, m.id, m.retention, m.cancels, m.webhook = p.owner, fmt.Sprintf("member-%d-%d", c.Seed%1000, m.n), p.retention, false, ""
			if m.contentType != "application/json" { // a batch has JSON only
				m.name, m.route, m.contentType = "leased", routeLeased, "application/json"
				m.content, m.exact = fmt.Appendf(nil, `{"n":%d}`, m.n), bytesFor(m.n, m.size)
			}
			if m.size > 512<<10 && len(m.exact) == m.size && !m.json { // it is kept for long
				m.size = 1000
				m.exact = bytesFor(m.n, m.size)
			}
			members = append(members, m)
			bodies = append(bodies, m.document(c))
		}
		// It can always be written.
		p.content, _ = json.Marshal(map[string]any{"id": p.id, "retention": p.retention.String(), "requests": bodies})
		random := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		c.under.Go(func() { c.batch(c.lasting, random, p, members) })
	}
}

func (c *churn) batch(ctx context.Context, r *rand.Rand, p plan, members []plan) {
	s := c.ledger.submit(p)
	for _, m := range members {
		member := c.ledger.submit(m)
		c.ledger.mu.Lock()
		s.members = append(s.members, member)
		c.ledger.mu.Unlock()
	}
	a, err := c.ask(ctx, r, c.owners[p.owner], call{method: "POST", path: "/v1/batches", contentType: "application/json", body: p.content, header: []string{"Prefer", "respond-async"}})
	if err != nil {
		return
	}
	var d document
	if err := json.Unmarshal(a.body, &d); err != nil || a.status != http.StatusAccepted {
		c.ledger.violate("n=%d: the batch is answered with %v", p.n, a)
		return
	}
	c.ledger.accept(s, d.ref(), a.unknown)
	c.ledger.mu.Lock()
	for _, m := range s.members {
		m.accepted, m.unknown = true, a.unknown
	}
	c.ledger.mu.Unlock()
	if one(r, 2) {
		c.followRequest(ctx, r.Uint64(), s)
	}
	if one(r, 6) {
		pause(ctx, between(r, 0, 2*time.Second))
		c.cancel(ctx, r, s)
	}
	for _, member := range append([]*submission{s}, s.members...) {
		c.verify(ctx, r, member)
	}
}
