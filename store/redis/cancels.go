package redis

// cancelChannel carries the ids of all requests whose cancellation is asked for.
func (s *Store) cancelChannel() string { return s.options.Prefix + ":cancel" }

// OnCancel implements lifecycle.Cancellations. It waits for the subscription up to
// the store's timeout; if Redis is not there, the subscription follows when it is. f runs on a
// goroutine that reads from Redis. A call that is running when stop is called goes on.
func (s *Store) OnCancel(f func(id string)) (stop func()) {
	stop = s.cancels.Add(f)
	s.await("cancellations", s.plain.want(s.cancelChannel(), "", s.cancels.Tell))
	return stop
}
