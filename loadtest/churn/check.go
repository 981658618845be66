package churn

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"
)

// check holds all that was seen against all that was asked for.
func (l *ledger) check(c *churn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(l.subs)) {
		l.checkSubmission(l.subs[n])
	}
	loose := 0
	for _, s := range l.subs {
		if s.loose() {
			loose += s.unknown
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(l.lives), func(a, b ref) int { return slices.Compare([]string{a.id, a.life}, []string{b.id, b.life}) }) {
		v := l.lives[of]
		l.checkLife(c, v)
		if v.sub == nil && !v.withdrawn() {
			if loose--; loose < 0 {
				l.wrongly("%s was submitted by nobody", of)
			}
		}
	}
	for _, f := range l.finished {
		l.checkFollower(f)
	}
	// An attempt may be begun, and the answer that hands it out be lost.
	if lost, most := l.found["attempts lost with their answer"], 4*(l.done["lease calls without an answer, or 503"]+l.done["workers that hung up while they waited"]); lost > most {
		l.wrongly("%d attempts began that nobody was handed, although at most %d can have been lost with an answer", lost, most)
	}
	// They are said also if there are none.
	for _, name := range []string{exhausted, superseded} {
		l.found[name] += 0
	}
}

// What is counted, and has to be none.
const (
	exhausted  = "attempts exhausted with healthy workers"
	superseded = "live attempts superseded"
)

// loose reports whether a call to submit that was not answered may have made a request beside the
// one that was told in the end: nothing says that the two are one, or the first may be forgotten
// already.
func (s *submission) loose() bool { return s.slot || s.id == "" && !s.keyed }

// withdrawn reports whether a life is that of a submission which was refused after it had been
// stored.
func (v *life) withdrawn() bool {
	return v.ended != 0 && v.events[v.ended].code == "withdrawn"
}

func (l *ledger) checkSubmission(s *submission) {
	if !s.accepted {
		if !s.gaveUp {
			l.wrongly("n=%d (%s) was never accepted", s.n, s.name)
		}
		return
	}
	l.found["requests accepted"]++
	stood := 0
	for _, of := range s.refs {
		if !l.lives[of].withdrawn() {
			stood++
		}
	}
	most := 1
	if s.loose() {
		most += s.unknown
	}
	if stood == 0 || stood > most || len(s.refs) > 1+s.unknown {
		l.wrongly("n=%d (%s) was accepted, after %d calls without an answer, and there are %d of it: %v", s.n, s.name, s.unknown, stood, s.refs)
	}
}

// checkLife checks all events of a life, one after the other.
func (l *ledger) checkLife(c *churn, v *life) {
	if v.ended == 0 {
		if len(v.events) > 0 {
			l.wrongly("%s has not ended: %s", v, v.story())
		}
		return
	}
	l.found["requests ended, once each"]++
	for seq := range v.events {
		if seq > v.ended {
			l.wrongly("%s: event %d behind its end at %d", v, seq, v.ended)
		}
	}
	var before, begun *event
	for seq := 1; seq <= v.ended; seq++ {
		e := v.events[seq]
		if e == nil {
			l.wrongly("%s: nobody was shown event %d of %d", v, seq, v.ended)
			return
		}
		if before != nil {
			l.checkStep(c, v, begun, before, e)
		} else if e.kind != "accepted" {
			l.wrongly("%s begins with %s", v, e.kind)
		}
		if e.kind == "started" {
			begun = e
		}
		before = e
	}
	if v.sub != nil && !v.withdrawn() {
		l.checkOutcome(v)
	}
	for n := range v.marks {
		if v.sub != nil && n != v.sub.n {
			l.wrongly("%s is n=%d, and bears what was said of n=%d", v, v.sub.n, n)
		}
	}
}

// tick is how finely times are told.
const tick = 2 * time.Millisecond

// checkStep checks one event against the one before; begun is the start of the attempt that runs.
func (l *ledger) checkStep(c *churn, v *life, begun, before, e *event) {
	running := before.kind == "started" || before.kind == "progress"
	switch {
	case before.batch != nil:
		return
	case e.kind == "started" && e.attempt != before.attempt+1, e.kind != "started" && e.attempt != before.attempt:
		l.wrongly("%s: %s of attempt %d behind %s of attempt %d", v, e.kind, e.attempt, before.kind, before.attempt)
	case e.kind == "progress" && !running, e.kind == "retrying" && !running:
		l.wrongly("%s: %s behind %s", v, e.kind, before.kind)
	case e.kind == expired && e.at.Add(tick).Before(before.expires):
		l.wrongly("%s: expired at %v, before %v", v, e.at, before.expires)
	}
	if s := v.sub; s != nil && e.kind == "started" && e.attempt == 1 && e.at.Add(tick).Before(e.created.Add(s.delay)) {
		l.wrongly("n=%d %s: began %v after it was submitted, with a delay of %v", s.n, v, e.at.Sub(e.created), s.delay)
	}
	lease := leaseOf(before.route)
	if e.kind == "started" && lease > 0 {
		if _, handed := v.handed[e.attempt]; !handed {
			l.found["attempts lost with their answer"]++
		}
	}
	// An attempt that another one follows without a report of its own was taken for dead.
	dead := running && (e.kind == "started" || e.code == "silent" && e.kind != "progress" || e.code == "attempts-exhausted")
	if e.code == "attempts-exhausted" && (v.sub == nil || v.sub.attempts == 20 || lease == 0) {
		l.found[exhausted]++
		l.wrongly("%s: attempts exhausted with healthy workers: %s", v, v.story())
	}
	if !dead {
		return
	}
	if lease > 0 { // which is what says so
		if silence := e.at.Sub(before.at); silence+tick < lease {
			l.found[superseded]++
			l.wrongly("%s: attempt %d is taken for dead %v after its last report, with a lease of %v: %s", v, before.attempt, silence, lease, v.story())
			return
		}
	} else if !c.died(before.route, begun.at, e.at) {
		l.found[superseded]++
		l.wrongly("%s: attempt %d on %s is taken for dead, although no process that works there has died: %s", v, before.attempt, before.route, v.story())
		return
	}
	l.found["dead attempts followed by another"]++
}

// died reports whether a process that works on a route was about to end in a time.
func (c *churn) died(route string, from, to time.Time) bool {
	mortal := c.Gateways
	if len(c.Workers) > 0 {
		mortal = c.Workers[:c.Mortal]
		if route != "sleep" { // the others' routes
			mortal = nil
		}
	}
	return slices.ContainsFunc(mortal, func(p *Process) bool { return p.away(from, to) })
}

// checkOutcome checks how a request has ended.
func (l *ledger) checkOutcome(v *life) {
	s, end := v.sub, v.events[v.ended]
	if s.batch {
		l.checkBatch(v)
		return
	}
	right := end.kind == s.want
	if s.want == failed && right {
		right = slices.Contains(s.codes, end.code)
		if _, handed := v.handed[end.attempt]; !handed && s.attempts < 20 && (end.code == "silent" || end.code == "attempts-exhausted") {
			// The last attempt that was left was lost with the answer that handed it out.
			right = true
		}
	}
	if s.askedToCancel {
		right = right && !s.canceled || end.kind == canceled
	}
	if !right {
		l.wrongly("n=%d (%s) %s ended as %s (%s), not as %s %v; asked to cancel: %v, answered as canceled: %v: %s", s.n, s.name, v, end.kind, end.code, s.want, s.codes, s.askedToCancel, s.canceled, v.story())
	}
	if s.answered != "" && s.answered != end.kind && len(s.refs) == 1 {
		l.wrongly("n=%d %s ended as %s, but the call that waited was told %s", s.n, v, end.kind, s.answered)
	}
	want := int64(len(s.exact))
	if s.size < 0 {
		want = -1
	}
	if end.kind == succeeded && (s.exact != nil || s.size < 0) && s.name != "sleep" && end.size != want {
		l.wrongly("n=%d (%s) %s: its result has %d bytes, not %d", s.n, s.name, v, end.size, want)
	}
	if s.json && end.kind == succeeded {
		if !bytes.Equal(end.value, s.exact) {
			l.wrongly("n=%d (%s) %s: the result in its event is not the one that was reported: %.100q", s.n, s.name, v, end.value)
		}
		l.found["results in events"]++
	}
	l.found["outcomes as asked"]++
	l.found["ended as "+end.kind]++
}

// checkBatch compares a batch with its requests.
func (l *ledger) checkBatch(v *life) {
	s, end := v.sub, v.events[v.ended]
	is := batchCounts{Total: len(s.members)}
	for _, m := range s.members {
		for _, of := range m.refs {
			member := l.lives[of]
			if member.ended == 0 || member.withdrawn() {
				continue
			}
			switch member.events[member.ended].kind {
			case succeeded:
				is.Succeeded++
			case failed:
				is.Failed++
			case canceled:
				is.Canceled++
			case expired:
				is.Expired++
			}
		}
	}
	want := failed
	if is.Succeeded == is.Total {
		want = succeeded
	}
	if end.batch == nil || *end.batch != is || end.kind != want && (!s.askedToCancel || end.kind != canceled) || s.canceled && end.kind != canceled {
		l.wrongly("n=%d the batch %s ended as %s with %+v, and its requests as %+v; asked to cancel: %v", s.n, v, end.kind, end.batch, is, s.askedToCancel)
	}
	l.found["batches that count right"]++
}

// story tells the events of a life in short.
func (v *life) story() (text string) {
	var from time.Time
	for _, seq := range slices.Sorted(maps.Keys(v.events)) {
		e := v.events[seq]
		if from.IsZero() {
			from = e.at
		}
		text += fmt.Sprintf("%d %s", seq, e.kind)
		if e.attempt > 0 {
			text += fmt.Sprintf("(%d)", e.attempt)
		}
		if e.code != "" {
			text += " " + e.code
		}
		text += fmt.Sprintf(" +%.3fs, ", e.at.Sub(from).Seconds())
	}
	if s := v.sub; s != nil {
		text += fmt.Sprintf("n=%d (%s) at %s", s.n, s.name, s.at.Format("15:04:05.000"))
	}
	return text
}

// report returns what was done and found.
func (l *ledger) report(c *churn, memory []float64) (r Report) {
	c.receiver.mu.Lock()
	taken, again := c.receiver.taken, c.receiver.again
	c.receiver.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.done)) {
		r.Done = append(r.Done, Figure{name, float64(l.done[name]), ""})
	}
	r.Done = append(r.Done, Figure{"webhooks taken", float64(taken), ""}, Figure{"webhooks taken more than once", float64(again), ""})
	for _, name := range slices.Sorted(maps.Keys(l.found)) {
		r.Checked = append(r.Checked, Figure{name, float64(l.found[name]), ""})
	}
	for i, n := range memory {
		r.Checked = append(r.Checked, Figure{fmt.Sprintf("memory of the gateways at rest, part %d", i+1), n / (1 << 20), "MB"})
	}
	r.Checked = append(r.Checked, Figure{"violations", float64(len(l.wrong)), ""})
	r.Violations = slices.Clone(l.wrong)
	return r
}
