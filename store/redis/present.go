package redis

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// present names the processes that are there, and so where they stand: all in one partition.
const present = "present"

// Attend implements lifecycle.Presence.
func (s *Store) Attend(ctx context.Context, p lifecycle.Process, d time.Duration) error {
	said, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.attend(ctx, p.Name, said, d)
}

// Leave implements lifecycle.Presence.
func (s *Store) Leave(ctx context.Context, name string) error { return s.attend(ctx, name, nil, 0) }

func (s *Store) attend(ctx context.Context, name string, said []byte, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.run(bound, scripts.attend, s.partition(present), name, said, d.Milliseconds())
	return failed(ctx, err)
}

// Present implements lifecycle.Presence.
func (s *Store) Present(ctx context.Context) ([]lifecycle.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	tag := s.tags[s.partition(present)]
	names, err := s.client.ZRevRange(bound, tag+present, 0, lifecycle.PresentMost-1).Result()
	if err != nil || len(names) == 0 {
		return nil, failed(ctx, err)
	}
	said := make([]*goredis.StringCmd, len(names))
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for i, name := range names {
			said[i] = p.Get(bound, tag+present+":"+name)
		}
		return nil
	}); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, failed(ctx, err)
	}
	var all []lifecycle.Process
	for _, command := range said {
		var p lifecycle.Process
		// Who has left, or says what another version understands, is not there.
		if json.Unmarshal([]byte(command.Val()), &p) == nil {
			all = append(all, p)
		}
	}
	return all, nil
}
