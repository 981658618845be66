package redis

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// route is a pair of partitions: an outbox and where it leads.
type route struct{ from, to int }

// relay lets one goroutine at a time empty an outbox, for all who came before it began.
type relay struct {
	mu      sync.Mutex
	running bool
	waiting []chan turn // for the next round
	again   time.Time   // after a failure, steps leave it to the sweeps until then
}

// turn is what one who waits is told.
type turn struct {
	run    bool // make the next round yourself,
	others []chan turn
	err    error // or how the round went
}

// relayNow empties the outboxes that a step has put something into. It returns when what was in
// them is in the feeds, or when that fails: then it is done by the next step or sweep.
func (s *Store) relayNow(ctx context.Context, from int, outboxes []int) {
	if len(outboxes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	for _, to := range outboxes {
		r := s.relays[route{from, to}]
		r.mu.Lock()
		skip := time.Now().Before(r.again)
		r.mu.Unlock()
		if skip {
			continue
		}
		if err := s.relayAll(ctx, route{from, to}); err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "feeds get their events late", slog.Any("error", err))
			r.mu.Lock()
			r.again = time.Now().Add(relayPause)
			r.mu.Unlock()
		}
	}
}

const (
	relayWait  = time.Second // a step that has been made does not wait longer for its feeds
	relayPause = time.Second
)

// relayAll returns once everything that was in an outbox before the call has been
// relayed, by this goroutine or another one.
func (s *Store) relayAll(ctx context.Context, way route) error {
	r := s.relays[way]
	var others []chan turn
	r.mu.Lock()
	if r.running {
		// That round may have read before our entry came: wait for the one after it.
		mine := make(chan turn, 1)
		r.waiting = append(r.waiting, mine)
		r.mu.Unlock()
		told := <-mine // soon: rounds are bounded by the timeout of who makes them
		if !told.run {
			return told.err
		}
		others = told.others
	} else {
		r.running = true
		r.mu.Unlock()
	}
	err := s.relayRound(ctx, way)
	for _, other := range others {
		other <- turn{err: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.running = false
		return err
	}
	r.waiting[0] <- turn{run: true, others: r.waiting[1:]}
	r.waiting = nil
	return err
}

// relayBatch is how many entries are relayed at a time.
const relayBatch = 64

// relayRound empties an outbox.
func (s *Store) relayRound(ctx context.Context, way route) error {
	outbox := s.tags[way.from] + "x:" + strconv.Itoa(way.to)
	for {
		entries, err := s.client.XRangeN(ctx, outbox, "-", "+", relayBatch).Result()
		if err != nil || len(entries) == 0 {
			return err
		}
		args := append(make([]any, 0, 2+4*len(entries)), s.ahead.Load(), way.from)
		for _, entry := range entries {
			hook, _ := entry.Values["w"].(string) // older versions put none there
			args = append(args, entry.ID, entry.Values["c"], entry.Values["e"], hook)
		}
		if _, err := s.run(ctx, s.writers.relay, way.to, args...); err != nil {
			return err
		}
		if err := s.client.XTrimMinID(ctx, outbox, after(entries[len(entries)-1])).Err(); err != nil {
			return err
		}
		if len(entries) < relayBatch {
			return nil
		}
	}
}

// after is the id that would follow an entry.
func after(m goredis.XMessage) string {
	tick, rank, _ := strings.Cut(m.ID, "-")
	n, _ := strconv.ParseUint(rank, 10, 64)
	return tick + "-" + strconv.FormatUint(n+1, 10)
}
