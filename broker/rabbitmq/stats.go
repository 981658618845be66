package rabbitmq

import "sync/atomic"

// Stats are the figures of one broker since it was made. Publications are jobs and events.
type Stats struct {
	Connected bool // both connections are up
	Blocked   bool // the server is short of memory or disk and takes no jobs

	Connections int64 // made, lost ones included; 2 without a failure
	// Publications that wait for their confirmation, those that nobody waits for any more included.
	Pending      int64
	Published    int64 // confirmed by the server
	Refused      int64 // refused by the server, or without a queue
	Unconfirmed  int64 // given up or lost with their connection: they may have been taken
	Delivered    int64 // handed to handles
	Redelivered  int64 // of these, marked as such
	Deferred     int64 // sent on to the next delay step
	DroppedAcks  int64 // settled after their connection was lost
	BadMessages  int64 // that were no jobs
	Republished  int64 // returned jobs that were published anew to spare the delivery limit
	ConsumerLost int64 // times that a Consume had to start again
}

type counters struct {
	connections, pending, published, refused, unconfirmed                                 atomic.Int64
	delivered, redelivered, deferred, droppedAcks, badMessages, republished, consumerLost atomic.Int64
}

// Stats returns the figures as they are.
func (b *Broker) Stats() Stats {
	c := &b.counts
	return Stats{
		Connected:    b.publishing.current() != nil && b.consuming.current() != nil,
		Blocked:      b.publishing.blocked(),
		Connections:  c.connections.Load(),
		Pending:      c.pending.Load(),
		Published:    c.published.Load(),
		Refused:      c.refused.Load(),
		Unconfirmed:  c.unconfirmed.Load(),
		Delivered:    c.delivered.Load(),
		Redelivered:  c.redelivered.Load(),
		Deferred:     c.deferred.Load(),
		DroppedAcks:  c.droppedAcks.Load(),
		BadMessages:  c.badMessages.Load(),
		Republished:  c.republished.Load(),
		ConsumerLost: c.consumerLost.Load(),
	}
}
