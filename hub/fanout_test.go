package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
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
		messages = append(messages, Message{Offset: 10 + n, Event: fmt.Appendf(nil, `{"n":%d}`, n), Last: n == 4})
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
					to: &recorder{form: form(rng.IntN(int(forms)))}, last: 9 + rng.Uint64N(7), live: rng.IntN(4) > 0, any: rng.IntN(10) == 0,
				}
			}
			deliver(&batch{channel: "request:1", messages: messages}, subs)
			var all strings.Builder
			for i, s := range subs {
				fmt.Fprintln(&all, i, s.last, s.live, s.missed, len(s.pending), s.to.(*recorder).got)
			}
			return all.String()
		}
		if outcome((*batch).fanOut) != outcome((*batch).deliver) {
			t.Errorf("%d followers, seed %d: not what one goroutine delivers", followers, seed)
		}
	}
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
