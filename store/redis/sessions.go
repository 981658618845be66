package redis

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/store/redis/link"
)

// How many sessions of a worker are known at most, and how long after the last call of any; and how
// many workers of one owner are, of which each partition has its part.
const (
	sessionsKept   = 16
	sessionsKeptOf = 24 * time.Hour
	workersKept    = 10_000
)

// sessionChannel carries the workers of which a new session has called.
func (s *Store) sessionChannel() string { return s.options.Prefix + ":worker" }

// Enter notes that a session of a worker calls. One that is not known becomes the newest, by a
// number that is above those of all before. It returns its number and that of the newest.
func (s *Store) Enter(ctx context.Context, worker, session string) (number, newest int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	answer, err := s.run(bound, scripts.session, s.partition(worker), worker, session, sessionsKept, sessionsKeptOf.Milliseconds(), s.sessionChannel(),
		(workersKept+len(s.tags)-1)/len(s.tags))
	if err == nil {
		number, err = answer.Number(1)
	}
	if err == nil {
		newest, err = answer.Number(2)
	}
	return number, newest, failed(ctx, err)
}

// OnEnter calls f when a session becomes the newest of a worker, at whichever process, until stop
// is called. It waits for the subscription as OnCancel does, and runs f as that does.
func (s *Store) OnEnter(f func(worker string, newest int64)) (stop func()) {
	stop = s.sessions.Add(func(text string) {
		number, worker, ok := strings.Cut(text, " ")
		if newest, err := strconv.ParseInt(number, 10, 64); ok && err == nil {
			f(worker, newest)
		}
	})
	s.await("sessions of workers", s.plain.Subscribe(s.sessionChannel(), link.HandlerFunc(s.sessions.Tell)))
	return stop
}
