package redis

import (
	"context"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/stream"
)

// Advance lets the time that the scripts see run ahead of the server's by d more.
func (s *Store) Advance(d time.Duration) { s.ahead.Add(d.Microseconds()) }

// Ahead is how far.
func (s *Store) Ahead() time.Duration { return time.Duration(s.ahead.Load()) * time.Microsecond }

// Hook has the commands of a store's client go through a hook, besides those that it has.
func Hook(s *Store, h goredis.Hook) { s.client.AddHook(h) }

// TakeName takes the name of a stream for a fork that is never made, as a process does that dies.
func TakeName(ctx context.Context, s *Store, n stream.Name, at int) {
	if s.partition(n.Key()) == at {
		return
	}
	pointer := rawPointer(s.streamToken() + string(pointerSign) + strconv.Itoa(at))
	_, _ = s.write(ctx, s.partition(n.Key()), "", change{name: n, raw: [2]rawPointer{"", pointer}})
}
