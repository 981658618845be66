package redis

import (
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
)

// cancelChannel carries the names of all requests whose cancellation is asked for.
func (s *Store) cancelChannel() string { return s.options.Prefix + ":cancel" }

// OnCancel implements lifecycle.Cancellations. It waits for the subscription up to
// the store's timeout; if Redis is not there, the subscription follows when it is. f runs on a
// goroutine that reads from Redis. A call that is running when stop is called goes on.
func (s *Store) OnCancel(f func(of lifecycle.Ref)) (stop func()) {
	stop = s.cancels.Add(func(of string) { f(lifecycle.ParseRef(of)) })
	s.await("cancellations", s.plain.Subscribe(s.cancelChannel(), link.HandlerFunc(s.cancels.Tell)))
	return stop
}
