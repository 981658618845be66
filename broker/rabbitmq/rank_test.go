package rabbitmq

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/servertest"
)

func TestRanksOf(t *testing.T) {
	for version, want := range map[string]Ranks{
		"3.10.8": OneRank, "3.13.7": OneRank, "4.0.5": TwoRanks, "4.2.10": TwoRanks, "4.3.0": AllRanks, "4.3.6-rc.1": AllRanks, "4.10.0": AllRanks, "5.0": AllRanks,
		"": OneRank, "4": OneRank, "next": OneRank,
	} {
		if got := ranksOf(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

// TestPriorities: jobs come in the order that the version of the server promises, and Rank says
// which one that is.
func TestPriorities(t *testing.T) {
	b := openShared(t, Options{}, "a")
	connected(t, b)
	priorities := []int{0, 1, 2, 3, 4, 5, 9, 0, 1, 2, 3, 4, 5, 9, 0, 1, 2, 3, 4, 5, 9}
	for i, p := range priorities {
		publish(t, b, broker.Job{ID: fmt.Sprint(i), Route: "a", Priority: p})
	}
	came, handle := given()
	defer consume(t, b, 1, handle)()
	byRank, order := map[int][]int{}, make([]int, 0, len(priorities))
	last := map[int]int{}
	for range priorities {
		d := next(t, came)
		d.Ack()
		var i int
		fmt.Sscan(d.Job().ID, &i)
		rank := b.Rank(d.Job().Priority)
		if before, ok := last[rank]; ok && i < before {
			t.Errorf("of rank %d job %d came behind %d", rank, i, before)
		}
		last[rank] = i
		byRank[rank] = append(byRank[rank], i)
		order = append(order, d.Job().Priority)
	}
	t.Logf("ranks: %d, order: %v", b.ranks.Load(), order)
	switch Ranks(b.ranks.Load()) {
	case OneRank:
		if len(byRank) != 1 || !slices.Equal(order, priorities) {
			t.Errorf("not in their order: %v", order)
		}
	case TwoRanks: // two of the higher for one of the lower, as long as there are both
		if len(byRank) != 2 {
			t.Errorf("ranks: %v", byRank)
		}
		high := 0
		for _, p := range order[:9] {
			high += b.Rank(p)
		}
		if high < 5 || high > 8 {
			t.Errorf("%d of the first 9 are of the higher rank: %v", high, order)
		}
	case AllRanks:
		if !slices.IsSortedFunc(order, func(x, y int) int { return y - x }) {
			t.Errorf("not by priority: %v", order)
		}
	}
}

// TestDelaysOfRanks: what is urgent does not hold back what has waited long enough. On RabbitMQ
// 4.0.5 a queue with both did: messages of the lower rank stood behind the head, where the server
// does not look.
func TestDelaysOfRanks(t *testing.T) {
	const step, later = 2 * time.Second, 1200 * time.Millisecond
	b := openShared(t, Options{Delays: []time.Duration{step}}, "a")
	connected(t, b)
	came, handle := given()
	defer consume(t, b, 10, handle)()
	jobs := []broker.Job{{ID: "ordinary"}, {ID: "urgent", Priority: 9}, {ID: "too", Priority: 1}}
	for i, j := range jobs {
		if i > 0 {
			time.Sleep(later) // so that it is due so much later
		}
		j.Route, j.NotBefore = "a", time.Now().Add(step)
		publish(t, b, j)
	}
	for _, j := range jobs {
		d := next(t, came)
		d.Ack()
		if d.Job().ID != j.ID {
			t.Errorf("%s came before %s, which was due %v earlier", d.Job().ID, j.ID, later)
		}
	}
}

// TestLongWork: where the server lets a consumer say how long it works, its own consumer_timeout
// does not count, and what ran out is told as that. Older servers look once a minute, and at their
// own alone.
func TestLongWork(t *testing.T) {
	s := servertest.RabbitMQ(t, "consumer_timeout = 1000")
	for _, c := range []struct {
		timeout time.Duration
		again   bool
	}{{0, false}, {1500 * time.Millisecond, true}} {
		var said lockedBuffer
		b := open(t, s.URL, Options{ConsumerTimeout: c.timeout, Logger: slog.New(slog.NewTextHandler(&said, nil))}, "a")
		connected(t, b)
		if Ranks(b.ranks.Load()) != AllRanks {
			t.Skip("this RabbitMQ is older than 4.3")
		}
		publish(t, b, broker.Job{ID: "long", Route: "a"})
		came, handle := given()
		stop := consume(t, b, 1, handle)
		d := next(t, came)
		if c.again {
			again := next(t, came)
			if !again.Redelivered() {
				t.Error("it is not told that it was handed out before")
			}
			again.Ack()
			if text := said.String(); !strings.Contains(text, "consumer_timeout") || !strings.Contains(text, "deleted") {
				t.Errorf("the log does not name both reasons: %s", text)
			}
		} else {
			select { // three times as long as the server's own
			case <-came:
				t.Error("it was handed out again")
			case <-time.After(3 * time.Second):
			}
			d.Ack()
		}
		stop()
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
