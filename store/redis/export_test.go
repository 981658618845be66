package redis

import goredis "github.com/redis/go-redis/v9"

import "time"

// Advance lets the time that the scripts see run ahead of the server's by d more.
func (s *Store) Advance(d time.Duration) { s.ahead.Add(d.Microseconds()) }

// Ahead is how far.
func (s *Store) Ahead() time.Duration { return time.Duration(s.ahead.Load()) * time.Microsecond }

// Hook has the commands of a store's client go through a hook, besides those that it has.
func Hook(s *Store, h goredis.Hook) { s.client.AddHook(h) }
