package churn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// work runs the workers over HTTP until ctx ends.
func (c *churn) work(ctx context.Context, round int, running *sync.WaitGroup) {
	for i, route := range []string{routeLeased, routeLeased, routeLeased, routeLeased, routeQuiet, routeQuiet, routeQuiet} {
		w := &worker{churn: c, caller: c.workers[i%processors], route: route, random: c.random(fmt.Sprint("worker", i, round))}
		running.Go(func() { w.run(ctx) })
	}
}

// worker leases work and does with it what its plan says.
type worker struct {
	*churn
	caller *caller
	route  string
	random *rand.Rand // run's own
	busy   sync.WaitGroup
}

// leased is an attempt, as it is handed out.
type leased struct {
	ID, Life, Route, Caller string
	Attempt, Priority       int
	Topic                   *string
	ContentType             string
	Content                 json.RawMessage
}

// ref is the life that the attempt is of, as documents name it: to a worker an id that the gateway
// has made has the life "none".
func (k *leased) ref() ref {
	if k.Life == "none" {
		return ref{k.ID, ""}
	}
	return ref{k.ID, k.Life}
}

func (w *worker) run(ctx context.Context) {
	defer w.busy.Wait()
	slots := make(chan struct{}, 8)
	for ctx.Err() == nil {
		calling, cancel := context.WithCancel(ctx)
		if w.route == routeQuiet && w.disturbed.Err() == nil && one(w.random, 12) {
			// It hangs up, maybe while it is handed something.
			w.ledger.count("workers that hung up while they waited")
			calling, cancel = context.WithTimeout(ctx, between(w.random, 0, 500*time.Millisecond))
		}
		order := fmt.Appendf(nil, `{"routes":[%q],"max":%d,"wait":"%dms","lease":%q}`, w.route, 1+w.random.IntN(4), 500+w.random.IntN(2000), leaseOf(w.route))
		key := w.caller.current()
		a, err := w.try(calling, w.random.IntN(len(w.Gateways)), key, call{method: "POST", path: "/v1/work/lease", contentType: "application/json", body: order})
		cancel()
		var got struct{ Work []leased }
		switch {
		case err == nil && a.status == http.StatusOK:
			if err := json.Unmarshal(a.body, &got); err != nil {
				w.ledger.violate("lease: %v: %v", err, a)
			}
		case err == nil && a.status == http.StatusUnauthorized && key == w.caller.current():
			w.ledger.violate("lease: the key of %s, which is in the file, is refused: %v", w.caller.subject, a)
			return
		case err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusUnauthorized:
			w.ledger.violate("lease: %v", a)
			return
		default:
			w.ledger.count("lease calls without an answer, or 503")
			pause(ctx, between(w.random, 20*time.Millisecond, 200*time.Millisecond))
		}
		for _, k := range got.Work {
			slots <- struct{}{}
			random := w.churn.random(fmt.Sprint("work", k.ID, k.Attempt))
			w.busy.Go(func() {
				defer func() { <-slots }()
				w.do(ctx, random, k)
			})
		}
	}
}

// do does one attempt.
func (w *worker) do(ctx context.Context, r *rand.Rand, k leased) {
	var content struct{ N int }
	of := k.ref()
	if err := json.Unmarshal(k.Content, &content); err != nil {
		w.ledger.violate("work %s: %v: %.100s", of, err, k.Content)
		return
	}
	s := w.ledger.planOf(content.N)
	if s == nil {
		w.ledger.violate("work %s: nobody submitted n=%d", of, content.N)
		return
	}
	if topic := k.Topic; k.Route != s.route || k.Route != w.route || k.Priority != s.priority || k.Caller != w.owners[s.owner].subject || (topic == nil) != (s.topic == "") || !bytes.Equal(k.Content, s.content) {
		w.ledger.violate("work %s is not as n=%d was submitted: %+v", of, s.n, k)
	}
	w.ledger.hand(s, of, k.Attempt)
	if k.Attempt <= s.silent {
		w.silent(ctx, r, s, k)
		return
	}
	for step := 0; step < s.steps || s.forever; step++ {
		if !pause(ctx, between(r, 10*time.Millisecond, 250*time.Millisecond)) {
			return // the run is over
		}
		a, err := w.report(ctx, r, k, call{method: "POST", path: "progress", contentType: "application/json", body: fmt.Appendf(nil, `{"step":"step %d","message":%q}`, step, mark(s.n)+strings.Repeat("x", s.said))})
		if err != nil || a.status != http.StatusOK {
			return // canceled, expired, or superseded, which the events tell
		}
		var next struct{ Cancel bool }
		if json.Unmarshal(a.body, &next) == nil && next.Cancel {
			w.stop(ctx, r, s, k)
			return
		}
	}
	w.finish(ctx, r, s, k)
}

// stop ends an attempt whose request is to be canceled.
func (w *worker) stop(ctx context.Context, r *rand.Rand, s *submission, k leased) {
	w.ledger.mu.Lock()
	if !s.askedToCancel {
		w.ledger.wrongly("n=%d %s/%s: the worker is asked to stop, but nobody canceled it", s.n, k.ID, k.Life)
	}
	w.ledger.mu.Unlock()
	w.ledger.count("workers asked to stop")
	_, _ = w.report(ctx, r, k, failure(s, "stopped", false))
}

// silent takes work and says nothing, or something only when it is too late.
func (w *worker) silent(ctx context.Context, r *rand.Rand, s *submission, k leased) {
	w.ledger.count("attempts that fell silent")
	if one(r, 3) { // after a word
		_, _ = w.report(ctx, r, k, call{method: "POST", path: "progress"})
	}
	if !s.late || !pause(ctx, shortLease+between(r, 0, 2*time.Second)) {
		return
	}
	w.ledger.count("reports that came late")
	a, err := w.report(ctx, r, k, result(s))
	if err != nil {
		return
	}
	switch a.status {
	case http.StatusOK: // nobody had noticed yet
	case http.StatusConflict, http.StatusNotFound:
		w.ledger.count("reports that came late refused")
	default:
		w.ledger.violate("n=%d %s: a late report is answered with %v", s.n, k.ID, a)
	}
}

// finish ends an attempt as its plan says.
func (w *worker) finish(ctx context.Context, r *rand.Rand, s *submission, k leased) {
	var last call
	switch {
	case k.Attempt <= s.silent+s.again:
		last = failure(s, "again", true)
	case s.broken:
		last = failure(s, "broken", false)
	default:
		last = result(s)
	}
	a, err := w.report(ctx, r, k, last)
	if err != nil {
		return
	}
	if a.status != http.StatusOK && a.status != http.StatusConflict && a.status != http.StatusNotFound {
		w.ledger.violate("n=%d %s: %s is answered with %v", s.n, k.ID, last.path, a)
		return
	}
	if !s.twice || a.status != http.StatusOK {
		return
	}
	w.ledger.count("reports made twice")
	pause(ctx, between(r, 0, 500*time.Millisecond))
	// The same once more, as of somebody who has not got the answer. It is no error, unless another
	// attempt has ended since, or the request is gone.
	again := a
	if a, err = w.report(ctx, r, k, last); err != nil {
		return
	}
	var d document
	_ = json.Unmarshal(again.body, &d)
	if a.status != http.StatusOK && a.status != http.StatusNotFound && (terminal(d.Status) || a.status != http.StatusConflict) {
		w.ledger.violate("n=%d %s: the same report, made again, is answered with %v after %v", s.n, k.ID, a, again)
	}
}

// result is the report of success.
func result(s *submission) call {
	if s.size < 0 {
		return call{method: "POST", path: "complete"}
	}
	k := call{method: "PUT", path: "result", contentType: "application/octet-stream", body: s.exact}
	if s.json {
		k.contentType = "application/json"
	}
	return k
}

func failure(s *submission, code string, retry bool) call {
	return call{method: "PUT", path: "error", contentType: "application/json", body: fmt.Appendf(nil, `{"code":%q,"message":%q,"retry":%v}`, code, mark(s.n), retry)}
}

// report makes a report of an attempt, whose path is that behind the id.
func (w *worker) report(ctx context.Context, r *rand.Rand, k leased, report call) (answer, error) {
	q := url.Values{"attempt": {strconv.Itoa(k.Attempt)}}
	if k.Life != "" {
		q.Set("life", k.Life)
	}
	report.path = "/v1/work/" + k.ID + "/" + report.path + "?" + q.Encode()
	return w.ask(ctx, r, w.caller, report)
}
