package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// recorder is a follower that notes what it gets.
type recorder struct {
	form form
	got  []string
}

func (*recorder) begin(*subscription, uint64, uint64, bool) {}
func (*recorder) room(context.Context, bool) error          { return nil }
func (*recorder) broken(*subscription, error)               {}

func (r *recorder) send(_ *subscription, b *batch, _ bool) {
	r.got = append(r.got, string(b.encoded(r.form)))
}

func (r *recorder) ended(_ *subscription, offset uint64) {
	r.got = append(r.got, fmt.Sprint("end ", offset))
}

// TestFanOut: however many goroutines deliver a batch, each follower gets what it would get from
// one.
func TestFanOut(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var messages []Message
	for n := range uint64(5) {
		messages = append(messages, Message{Offset: 10 + n, Event: fmt.Appendf(nil, `{"n":%d}`, n), Last: n == 4, Thin: shortly(fmt.Sprint(n))})
	}
	for _, followers := range []int{0, 1, perPart, 2*perPart - 1, 2 * perPart, 5*perPart + 7} {
		seed := rand.Uint64()
		outcome := func(deliver func(*batch, []*subscription)) string {
			rng := rand.New(rand.NewPCG(seed, 1))
			subs := make([]*subscription, followers)
			for i := range subs {
				// In step, or some of the batch has been sent, or all; or it is being caught up, or
				// takes anything.
				subs[i] = &subscription{
					to: &recorder{form: form(rng.IntN(int(eventForms)))}, last: 9 + rng.Uint64N(7), live: rng.IntN(4) > 0, any: rng.IntN(10) == 0,
				}
			}
			deliver(&batch{channel: "request:1", messages: messages}, subs)
			var all strings.Builder
			for i, s := range subs {
				fmt.Fprintln(&all, i, s.last, s.live, s.missed, len(s.pending), s.to.(*recorder).got)
			}
			return all.String()
		}
		if outcome(func(b *batch, subs []*subscription) { b.fanOut(subs, 1<<eventForms-1) }) != outcome((*batch).deliver) {
			t.Errorf("%d followers, seed %d: not what one goroutine delivers", followers, seed)
		}
	}
}

// shortly is an event in thin form: what it says in one word.
type shortly string

func (s shortly) AppendThin(dst []byte, channel string) []byte {
	return fmt.Appendf(dst, `{"thin":%q,"in":%q}`, string(s), channel)
}

// TestThinIsMadeForThoseWhoWantIt: events are written in thin form once for each transport, however
// many want them so, and not at all if nobody does.
func TestThinIsMadeForThoseWhoWantIt(t *testing.T) {
	for _, followers := range []int{1, 10, 5 * perPart} {
		for _, thin := range []int{0, 1, followers} {
			ch := &channel{name: "request:1", hub: &Hub{}}
			made := new(counted)
			var recorders []*recorder
			for i := range followers {
				f := form(i % int(fullForms))
				if i < thin {
					f += fullForms
				}
				to := &recorder{form: f}
				recorders = append(recorders, to)
				ch.add(&subscription{ch: ch, to: to, form: f, live: true, last: 6})
			}
			ch.deliver([]Message{{Offset: 7, Event: []byte(`{"full":true}`), Thin: made}}, nil)
			for i, r := range recorders {
				if len(r.got) != 1 || strings.Contains(r.got[0], `"thin":true`) != (i < thin) || strings.Contains(r.got[0], `"full":true`) == (i < thin) {
					t.Fatalf("%d of %d want the thin form, number %d gets %q", thin, followers, i, r.got)
				}
			}
			if most := min(thin, int(eventForms-fullForms)); int(made.Load()) != most {
				t.Errorf("%d of %d want the thin form, and it was written %d times", thin, followers, made.Load())
			}
		}
	}
}

// counted is an event that counts how often it is written in thin form.
type counted struct{ atomic.Int32 }

func (c *counted) AppendThin(dst []byte, _ string) []byte {
	c.Add(1)
	return append(dst, `{"thin":true}`...)
}

// TestHeldBackIsBounded: what comes while a subscription is caught up is kept as long as it is
// little, in bytes also, and read from the source otherwise.
func TestHeldBackIsBounded(t *testing.T) {
	s := new(subscription)
	large := []Message{{Event: make([]byte, 10<<10)}}
	for n := 1; n <= 20; n++ {
		if s.hold(large); sizeOf(s.pending) > PageBytes {
			t.Fatalf("%d bytes are held back", sizeOf(s.pending))
		}
		if kept := n*(10<<10) <= PageBytes; s.missed == kept || kept && len(s.pending) != n {
			t.Errorf("of %d messages %d are held back, missed: %v", n, len(s.pending), s.missed)
		}
	}
}
