package lifecycle

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// burstTime is how often the log tells of the same failure at most, while it goes on.
const burstTime = 10 * time.Second

// burst bounds the lines of the log about failures of one kind, because a queue or a store that is
// away fails for everything at once. The first is told when it comes, those that come within
// burstTime behind it by their number and the last of them, and so on until there are none.
type burst struct {
	level slog.Level
	text  string

	mu      sync.Mutex
	timer   *time.Timer // runs during a burst
	more    int         // that were not told yet
	request string      // of the last one
	err     error
}

// tell logs a failure that is about a request, or counts it.
func (b *burst) tell(log *slog.Logger, request string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.more++
		b.request, b.err = request, err
		return
	}
	b.timer = time.AfterFunc(burstTime, func() { b.tellMore(log, false) })
	log.LogAttrs(context.Background(), b.level, b.text, slog.String("request", request), slog.Any("error", err))
}

// tellMore logs what was counted. The burst is over if that is nothing, or over says so.
func (b *burst) tellMore(log *slog.Logger, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer == nil {
		return
	}
	if over || b.more == 0 {
		b.timer.Stop()
		b.timer = nil
	} else {
		b.timer.Reset(burstTime)
	}
	if b.more > 0 {
		log.LogAttrs(context.Background(), b.level, b.text, slog.Int("more", b.more), slog.String("request", b.request), slog.Any("error", b.err))
	}
	b.more = 0
}
