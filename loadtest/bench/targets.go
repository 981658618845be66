package bench

import (
	"fmt"
	"strings"
)

// Verdict says whether a promise holds.
type Verdict struct {
	Promise string
	Figures string // what was measured, or why it was not
	State   State
}

// State is how it stands with a promise.
type State string

// The states.
const (
	Met         State = "met"
	Missed      State = "not met"
	NotMeasured State = "not measured"
)

// Kept says in a sentence how many promises hold.
func Kept(verdicts []Verdict) string {
	met, measured := 0, 0
	for _, v := range verdicts {
		if v.State == Met {
			met++
		}
		if v.State != NotMeasured {
			measured++
		}
	}
	return fmt.Sprintf("%d of %d that were measured are met.", met, measured)
}

// targets judges the runs of a comparison.
type targets struct {
	runs     []*Run
	verdicts []Verdict
}

// Targets says for each promise whether it holds in these runs.
func (r *Results) Targets() []Verdict {
	t := &targets{runs: r.Merged()}
	for _, wire := range []string{"sse", "ws"} {
		limit := map[string]float64{"sse": 1.5, "ws": 6}[wire]
		t.limit(fmt.Sprintf("a waiting connection takes at most %v KB, %s", limit, WireName(wire)), t.find("idle", wire, "embedded", "hark"), perConnection, "KB", limit)
	}
	for _, wire := range []string{"sse", "ws"} {
		hark := t.find("broadcast", wire, "embedded", "hark")
		t.limit("a broadcast delivery takes at most 11 µs of CPU, "+WireName(wire), hark, perDelivery, "µs", 11)
		t.compare("a broadcast delivery takes at most 15 % more CPU than a bare loop that writes as many bytes, "+WireName(wire),
			hark, t.floor(wire, hark), perDelivery, "µs", func(h, bare float64) bool { return h <= 1.15*bare })
		t.compare("broadcast: p99 below nchan's, "+WireName(wire), hark, t.find("broadcast", wire, "embedded", "nchan"), latencyP99, "ms", less)
	}
	for _, wire := range []string{"sse", "ws"} {
		hark, peer := t.find("unicast", wire, "embedded", "hark"), t.find("unicast", wire, "embedded", "centrifugo", "centrifuge")
		t.compare("one to one: more per second, stored on disk, than Centrifugo's engine in memory, "+WireName(wire), hark, peer, perSecond, "/s", more)
		hark, peer = t.find("unicast", wire, "shared", "hark"), t.find("unicast", wire, "shared", "centrifugo", "centrifuge")
		t.compare("one to one on Redis: more per second than Centrifugo with history, "+WireName(wire), hark, peer, perSecond, "/s", more)
		t.compare("one to one on Redis: less CPU of all servers than Centrifugo with history, "+WireName(wire), hark, peer, perDelivery, "µs", less)
	}
	t.lifecycle()
	t.slow()
	t.storm()
	t.growth()
	return t.verdicts
}

func less(hark, other float64) bool { return hark < other }
func more(hark, other float64) bool { return hark > other }

// find returns the run of the first of some servers that has one, nil if none has.
func (t *targets) find(scene, wire, backends string, servers ...string) *Run {
	for _, server := range servers {
		for _, r := range t.runs {
			if r.Scene == scene && r.Wire() == wire && r.Backends == backends && r.Server == server {
				return r
			}
		}
	}
	return nil
}

// floor returns the bare loop that wrote as many bytes as Hark.
func (t *targets) floor(wire string, hark *Run) *Run {
	for _, r := range t.runs {
		if r.Scene == "broadcast" && r.Wire() == wire && isFloor(r, hark) {
			return r
		}
	}
	return nil
}

func (t *targets) say(promise, figures string, holds bool) {
	state := Missed
	if holds {
		state = Met
	}
	t.verdicts = append(t.verdicts, Verdict{promise, figures, state})
}

func (t *targets) unknown(promise, why string) {
	t.verdicts = append(t.verdicts, Verdict{promise, why, NotMeasured})
}

// measured says so if one of the runs is not there. If Hark's has failed, so has the promise.
func (t *targets) measured(promise string, hark *Run, others ...*Run) bool {
	switch {
	case hark == nil:
		t.unknown(promise, "Hark did not run")
		return false
	case hark.Failed != "":
		t.say(promise, "Hark failed: "+hark.Failed, false)
		return false
	}
	for _, r := range others {
		if r == nil || r.Failed != "" {
			t.unknown(promise, "there is nothing to compare with")
			return false
		}
	}
	return true
}

// limit judges a figure that is to be at most so much.
func (t *targets) limit(promise string, hark *Run, figure, unit string, most float64) {
	if !t.measured(promise, hark) {
		return
	}
	v, ok := hark.Figure(figure)
	t.say(promise, Number(v)+" "+unit, ok && v <= most)
}

// compare judges a figure beside the same of another server.
func (t *targets) compare(promise string, hark, other *Run, figure, unit string, holds func(hark, other float64) bool) {
	if !t.measured(promise, hark, other) {
		return
	}
	h, ok1 := hark.Figure(figure)
	o, ok2 := other.Figure(figure)
	t.say(promise, fmt.Sprintf("%s %s; %s: %s %s (%.2f×)", Number(h), unit, nameOf(other, hark), Number(o), unit, o/h), ok1 && ok2 && holds(h, o))
}

func (t *targets) lifecycle() {
	const promise = "from POST to the pushed result on Redis and RabbitMQ: at least as many per second as asynq has tasks"
	hark := t.find("lifecycle", "sse", "shared", "hark")
	if !t.measured(promise, hark) {
		return
	}
	h, _ := hark.Figure(completed)
	asynq, ok := hark.Figure("asynq")
	if !ok {
		t.unknown(promise, "asynq did not run")
		return
	}
	said := fmt.Sprintf("%s /s; asynq: %s /s (%.2f×)", Number(h), Number(asynq), asynq/h)
	if n, ok := hark.Figure(floor); ok {
		said += fmt.Sprintf("; the floor: %s /s (%.2f×)", Number(n), n/h)
	}
	t.say(promise, said, h >= asynq)
}

func (t *targets) slow() {
	const promise = "slow followers move the others' p99 by less than 20 %"
	if hark := t.find("slow", "sse", "embedded", "hark"); t.measured(promise, hark) {
		by, ok := hark.Figure(movesBy)
		t.say(promise, Number(by)+" %", ok && by < 20)
	}
}

func (t *targets) storm() {
	const promise = "after a restart all streams are back without loss, with at most one read of the store for each"
	hark := t.find("storm", "", "embedded", "hark")
	if !t.measured(promise, hark) {
		return
	}
	streams, _ := hark.Figure("streams")
	back, _ := hark.Figure("came back without loss")
	reads, ok := hark.Figure("store reads per stream")
	t.say(promise, fmt.Sprintf("%s of %s, %.2f reads", Number(back), Number(streams), reads), ok && back == streams && reads <= 1)
}

// growth judges whether a delivery's own cost stays the same: no step from ten on may be above the
// median of these steps by more than a quarter, and by more than three times the deviation of its
// rounds, which is the noise.
func (t *targets) growth() {
	promise := func(kind string) string {
		return "a delivery costs the same however many there are, " + kind
	}
	var hark *Run
	for _, r := range t.runs {
		if r.Scene == "growth" && r.Server == "hark" {
			hark = r
		}
	}
	for _, kind := range growthKinds {
		if !t.measured(promise(kind), hark) {
			continue
		}
		net, ok := hark.Curve("CPU per delivery without publishing, " + kind)
		noise, _ := hark.Curve("median deviation of that, " + kind)
		var values []float64
		var said []string
		var deviations []float64
		for i, p := range net.Points {
			if p[0] < 10 || i >= len(noise.Points) {
				continue
			}
			values, deviations = append(values, p[1]), append(deviations, noise.Points[i][1])
			said = append(said, fmt.Sprintf("%s ± %s at %s", Number(p[1]), Number(noise.Points[i][1]), Number(p[0])))
		}
		flat, middle := len(values) > 1, Median(values)
		for i, v := range values {
			flat = flat && v <= middle+max(middle/4, 3*deviations[i])
		}
		t.say(promise(kind), strings.Join(said, ", ")+" µs; flat if none is above their median by 25 %, and by 3 times its ±", ok && flat)
	}
}
