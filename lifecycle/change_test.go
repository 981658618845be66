package lifecycle_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestEffects: of each kind of change, from each status that makes a difference, what it says that
// there is to store, to tell followers, and to tell whoever works on it. What is said is so: a
// request differs exactly if it is to be stored, and its sequence exactly if there is an event.
func TestEffects(t *testing.T) {
	at := sample().ExpiresAt.Add(-time.Minute)
	running := sample()
	failure := lifecycle.Failure{Code: "c", Message: "m"}
	with := func(change func(r *lifecycle.Request)) lifecycle.Request {
		r := sample()
		change(&r)
		return r
	}
	waiting := with(func(r *lifecycle.Request) { r.Status, r.Attempt = lifecycle.Pending, 0 })
	asked := with(func(r *lifecycle.Request) { r.CancelRequested = true })
	leased := with(func(r *lifecycle.Request) { r.Lease = 2 * time.Hour })
	lastTry := with(func(r *lifecycle.Request) { r.Failures = r.MaxAttempts - 1 })
	canceled := with(func(r *lifecycle.Request) { r.Status = lifecycle.Canceled })
	repeated := waiting
	repeated.Repeated = true
	batch := func(status lifecycle.Status, ends ...lifecycle.MemberEnd) lifecycle.Request {
		r := lifecycle.Request{
			ID: "b", Owner: "o", Status: lifecycle.Pending, Sequence: 1, CreatedAt: sample().CreatedAt,
			ExpiresAt: sample().ExpiresAt, Batch: &lifecycle.Batch{Total: 2},
		}
		changes := []lifecycle.Change{lifecycle.Count{Ends: ends}}
		if status == lifecycle.Processing {
			changes = append(changes, lifecycle.FanOut{})
		}
		for _, c := range changes {
			effect, err := lifecycle.Transition(r, c, at)
			if err != nil {
				t.Fatal(err)
			}
			r = effect.Request
		}
		return r
	}
	first, second := lifecycle.MemberEnd{Status: lifecycle.Succeeded}, lifecycle.MemberEnd{Member: 1, Status: lifecycle.Failed}
	after := func(r lifecycle.Request, c lifecycle.Change) lifecycle.Request {
		effect, err := lifecycle.Transition(r, c, at)
		if err != nil {
			t.Fatal(err)
		}
		return effect.Request
	}
	const none, refused, stored, told = "nothing", "refused", "stored", "stored, and told"
	for _, c := range []struct {
		name   string
		from   lifecycle.Request
		change lifecycle.Change
		want   string // one of the above, or the event
	}{
		{"a start", waiting, lifecycle.Start{}, "request.started"},
		{"a start of what runs", running, lifecycle.Start{}, refused},
		{"a start of what died", running, lifecycle.Start{Redelivered: true}, "request.started"},
		{"a start of what is alive", leased, lifecycle.Start{Redelivered: true}, refused},
		{"a start of what died too often", lastTry, lifecycle.Start{Redelivered: true}, "request.failed"},
		{"a start of what died and is not wanted", asked, lifecycle.Start{Redelivered: true}, "request.canceled"},
		{"progress", running, lifecycle.Progress{Step: new("cropping")}, "request.progress"},
		{"progress that says nothing", running, lifecycle.Progress{}, "request.progress"},
		{"progress of what waits", waiting, lifecycle.Progress{}, refused},
		{"success", running, lifecycle.Succeed{Attempt: 1}, "request.succeeded"},
		{"success, told again", after(running, lifecycle.Succeed{Attempt: 1}), lifecycle.Succeed{Attempt: 1}, none},
		{"another success", after(running, lifecycle.Succeed{Attempt: 1}), lifecycle.Succeed{Attempt: 1, Result: &lifecycle.Content{}}, refused},
		{"a failure", running, lifecycle.Fail{Attempt: 1, Failure: failure}, "request.failed"},
		{"a failure, told again", after(running, lifecycle.Fail{Attempt: 1}), lifecycle.Fail{Attempt: 1}, none},
		{"a failure with a retry", running, lifecycle.Fail{Retry: true}, "request.retrying"},
		{"a failure of the last try", lastTry, lifecycle.Fail{Retry: true}, "request.failed"},
		{"a failure with a retry that is just in time", running, lifecycle.Fail{Retry: true, Delay: time.Minute - 1}, "request.retrying"},
		{"a failure with a retry that would be too late", running, lifecycle.Fail{Retry: true, Delay: time.Minute}, "request.failed"},
		{"a failure of what is not wanted", asked, lifecycle.Fail{Retry: true}, "request.canceled"},
		{"a failure in the stead of who is alive", leased, lifecycle.Fail{Silent: true}, refused},
		{"a release", running, lifecycle.Release{Attempt: 1}, "request.retrying"},
		{"a release, told again", after(running, lifecycle.Release{Attempt: 1}), lifecycle.Release{Attempt: 1}, none},
		{"a release with a delay", running, lifecycle.Release{Attempt: 1, Delay: time.Minute}, "request.retrying"},
		{"a release, told again with another delay", after(running, lifecycle.Release{Attempt: 1}), lifecycle.Release{Attempt: 1, Delay: time.Hour}, none},
		{"a release of what is not wanted", asked, lifecycle.Release{}, "request.canceled"},
		{"a lost processor", running, lifecycle.Release{Attempt: 1, Lost: true}, "request.retrying"},
		{"a lost processor of what is not wanted", asked, lifecycle.Release{Lost: true}, "request.canceled"},
		{"a repetition", waiting, lifecycle.Repeat{}, stored},
		{"another repetition", repeated, lifecycle.Repeat{}, none},
		{"a repetition of what runs", running, lifecycle.Repeat{}, refused},
		{"canceling what waits", waiting, lifecycle.Cancel{}, "request.canceled"},
		{"canceling what runs", running, lifecycle.Cancel{}, told},
		{"canceling what runs, again", asked, lifecycle.Cancel{}, none},
		{"canceling what is canceled", canceled, lifecycle.Cancel{}, none},
		{"withdrawing what waits", waiting, lifecycle.Cancel{Withdrawn: true}, "request.canceled"},
		{"withdrawing what was submitted again", repeated, lifecycle.Cancel{Withdrawn: true}, refused},
		{"a redrive", after(running, lifecycle.Fail{}), lifecycle.Redrive{}, "request.redriven"},
		{"a redrive, once more", after(after(running, lifecycle.Fail{}), lifecycle.Redrive{}), lifecycle.Redrive{}, none},
		{"a redrive of what runs", running, lifecycle.Redrive{}, refused},
		{"a redrive of what has succeeded", after(running, lifecycle.Succeed{}), lifecycle.Redrive{}, refused},
		{"a redrive of what waits for its next try", after(running, lifecycle.Fail{Retry: true}), lifecycle.Redrive{}, refused},
		{"expiring too early", running, lifecycle.Expire{}, refused},
		{"expiring", with(func(r *lifecycle.Request) { r.ExpiresAt = at }), lifecycle.Expire{}, "request.expired"},
		{"canceling a batch that waits", batch(lifecycle.Pending), lifecycle.Cancel{}, stored},
		{"canceling a batch that waits, again", after(batch(lifecycle.Pending), lifecycle.Cancel{}), lifecycle.Cancel{}, none},
		{"canceling a batch", batch(lifecycle.Processing), lifecycle.Cancel{}, told},
		{"withdrawing a batch", batch(lifecycle.Pending), lifecycle.Cancel{Withdrawn: true}, "request.canceled"},
		{"fanning out a batch", batch(lifecycle.Pending), lifecycle.FanOut{}, "request.started"},
		{"fanning out a batch again", batch(lifecycle.Processing), lifecycle.FanOut{}, refused},
		{"an end while a batch waits", batch(lifecycle.Pending), lifecycle.Count{Ends: []lifecycle.MemberEnd{first}}, stored},
		{"an end", batch(lifecycle.Processing), lifecycle.Count{Ends: []lifecycle.MemberEnd{first}}, "request.progress"},
		{"an end that is known", batch(lifecycle.Processing, first), lifecycle.Count{Ends: []lifecycle.MemberEnd{first}}, none},
		{"the last end", batch(lifecycle.Processing, first), lifecycle.Count{Ends: []lifecycle.MemberEnd{first, second}}, "request.failed"},
		{"no end", batch(lifecycle.Processing), lifecycle.Count{}, none},
		{"more time of a member", batch(lifecycle.Processing), lifecycle.Count{Until: at.Add(time.Hour)}, stored},
		{"more time of a member, within the margin", batch(lifecycle.Processing), lifecycle.Count{Until: at}, none},
		{"an end of no batch", running, lifecycle.Count{Ends: []lifecycle.MemberEnd{first}}, refused},
	} {
		effect, err := lifecycle.Transition(c.from, c.change, at)
		_, isRefused := errors.AsType[*lifecycle.TransitionError](err)
		got := none
		switch {
		case isRefused:
			got = refused
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case effect.Event != "":
			got = string(effect.Event)
		case effect.Asked:
			got = told
		case effect.Changed:
			got = stored
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if differs := !reflect.DeepEqual(effect.Request, c.from); differs != effect.Changed {
			t.Errorf("%s: changed is %v, and it became\n%+v of\n%+v", c.name, effect.Changed, effect.Request, c.from)
		}
		sequence, updated := c.from.Sequence, c.from.UpdatedAt
		if effect.Event != "" {
			sequence, updated = sequence+1, at
		}
		if effect.Request.Sequence != sequence || !effect.Request.UpdatedAt.Equal(updated) {
			t.Errorf("%s: event %d of %v, want %d of %v", c.name, effect.Request.Sequence, effect.Request.UpdatedAt, sequence, updated)
		}
	}
}

func TestBodyOf(t *testing.T) {
	result := &lifecycle.Content{Type: "text/plain"}
	for _, c := range []struct {
		change lifecycle.Change
		want   *lifecycle.Content
		part   lifecycle.Part
	}{
		{lifecycle.Succeed{Result: result}, result, lifecycle.Output},
		{&lifecycle.Succeed{Result: result}, result, lifecycle.Output},
		{lifecycle.Succeed{}, nil, lifecycle.Output},
		{lifecycle.Fail{}, nil, lifecycle.Input},
		{lifecycle.Ask{}, nil, lifecycle.Answers},
		{lifecycle.Ask{Answers: result}, result, lifecycle.Answers},
		{lifecycle.Answer{Answers: result}, result, lifecycle.Answers},
	} {
		if got, part := lifecycle.BodyOf(c.change); got != c.want || part != c.part {
			t.Errorf("%T: %v as %d, want %v as %d", c.change, got, part, c.want, c.part)
		}
	}
}

// TestLostProcessors: a request whose processor is lost again and again, maybe because of what it
// asks for, ends. How often that costs nothing goes by how often it may be tried.
func TestLostProcessors(t *testing.T) {
	for most := 1; most <= 4; most++ {
		r := sample()
		r.Status, r.Attempt, r.Failures, r.MaxAttempts = lifecycle.Pending, 0, 0, most
		step := func(c lifecycle.Change) {
			t.Helper()
			effect, err := lifecycle.Transition(r, c, r.UpdatedAt)
			if err != nil {
				t.Fatal(err)
			}
			r = effect.Request
		}
		for lost := 1; !r.Status.Terminal(); lost++ {
			step(lifecycle.Start{})
			step(lifecycle.Release{Attempt: r.Attempt, Lost: true})
			if want := max(0, lost-most+1); r.Failures != want || (r.Error == nil) != (want == 0) {
				t.Errorf("lost %d times, %d attempts allowed: %d failures, %v", lost, most, r.Failures, r.Error)
			}
		}
		if r.Status != lifecycle.Failed || r.Attempt != 2*most-1 || r.Error.Code != "processor-lost" {
			t.Errorf("%d attempts allowed: %s after %d: %v", most, r.Status, r.Attempt, r.Error)
		}
	}
}
