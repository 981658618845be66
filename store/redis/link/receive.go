package link

import (
	"context"
	"errors"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/backoff"
)

// read takes what comes from Redis and hands it on at once. After as long without a
// message as a call may take, the connection is tried, and after twice that it is given up.
func (s *Subscriber) read(ctx context.Context) {
	quiet, failures := 0, 0
	for ctx.Err() == nil {
		pubsub := s.current()
		if pubsub == nil {
			select {
			case <-s.opened:
			case <-ctx.Done():
			}
			continue
		}
		m, err := pubsub.ReceiveTimeout(ctx, s.timeout)
		if err == nil {
			quiet, failures = 0, 0
			switch m := m.(type) {
			case *goredis.Message:
				if h := s.Handler(m.Channel); h != nil {
					h.Message(m.Payload)
				}
			case *goredis.Subscription:
				s.confirmed(ctx, m)
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		timeout, isTimeout := errors.AsType[interface {
			error
			Timeout() bool
		}](err)
		answer, isAnswer := errors.AsType[goredis.Error](err)
		switch {
		case isTimeout && timeout.Timeout() && quiet == 0:
			quiet++
			_ = pubsub.Ping(ctx)
			continue
		case quiet > 0, isAnswer && goredis.HasErrorPrefix(answer, "MOVED"):
			quiet = 0
			s.renew(ctx)
		default: // the PubSub connects again by itself
			s.log.LogAttrs(ctx, slog.LevelDebug, "bell is interrupted", slog.Any("error", err))
		}
		failures++
		_ = backoff.Wait(ctx, backoff.Exponential(failures, 50*time.Millisecond, time.Second))
	}
}

// renew replaces a connection that is dead, or that a Cluster has moved away from.
func (s *Subscriber) renew(ctx context.Context) {
	if cluster, ok := s.client.UniversalClient.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
	s.mu.Lock()
	old := s.pubsub
	s.pubsub = nil
	for name, c := range s.channels {
		c.again = c.again || c.state == subscribed
		c.state = idle
		s.dirty[name] = struct{}{}
	}
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	s.wakeUp()
}

// confirmed notes that a command has been carried out. That nobody had sent one
// means that the connection was lost and made again.
func (s *Subscriber) confirmed(ctx context.Context, m *goredis.Subscription) {
	s.mu.Lock()
	c := s.channels[m.Channel]
	if c == nil {
		s.mu.Unlock()
		return
	}
	var missed, moved bool
	switch m.Kind {
	case "subscribe", "ssubscribe":
		missed = c.again || c.state == subscribed
		c.state, c.since, c.again = subscribed, time.Now(), false
		for _, waiter := range c.waiters {
			close(waiter)
		}
		c.waiters = nil
	case "unsubscribe", "sunsubscribe":
		moved = c.state == subscribed // the slot has gone to another node
		c.state = idle
	}
	s.mu.Unlock()
	switch {
	case moved:
		s.renew(ctx)
	case missed:
		c.handler.Missed()
	default:
		s.wakeUp()
	}
}
