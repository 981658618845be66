package redis

import "time"

// Advance lets the time that the scripts see run ahead of the server's by d more.
func (s *Store) Advance(d time.Duration) { s.ahead.Add(d.Microseconds()) }

// Ahead is how far.
func (s *Store) Ahead() time.Duration { return time.Duration(s.ahead.Load()) * time.Microsecond }
