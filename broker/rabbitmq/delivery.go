package rabbitmq

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/hark-push/hark/broker"
)

// delivery implements broker.Delivery. It belongs to the channel that it came by,
// which is never opened again: delivery tags start anew on each channel, so that on
// another one its tag would be some other job's.
type delivery struct {
	session     *session
	tag         uint64
	earlier     int64 // deliveries before, as the server counts them
	job         broker.Job
	redelivered bool
	settled     atomic.Bool
}

var errSettled = errors.New("delivery was settled before")

// Job implements broker.Delivery.
func (d *delivery) Job() broker.Job { return d.job }

// Redelivered implements broker.Delivery.
func (d *delivery) Redelivered() bool { return d.redelivered }

// Ack implements broker.Delivery. It returns nil too if the connection was lost:
// then the server delivers the job again.
func (d *delivery) Ack() error {
	return d.settle(func() error { return d.session.channel.Ack(d.tag, false) })
}

// Return implements broker.Delivery. Up to RabbitMQ 4.2 the server counts a returned delivery like
// one whose consumer died. So that returning alone never brings a job to the dead queue, the job is
// published anew, behind the others, when half of the limit is used up. That can take as long as a
// Publish.
func (d *delivery) Return() error {
	return d.settle(func() error {
		s := d.session
		if d.worn() {
			err := s.send(context.Background(), d.job, true)
			if err == nil {
				s.counts.republished.Add(1)
				return s.channel.Ack(d.tag, false)
			}
			s.log.Warn("returned job could not be published anew", slog.String("request", d.job.ID), slog.Any("error", err))
		}
		return s.channel.Nack(d.tag, false, true)
	})
}

// worn reports whether the job was delivered so often that it has to be published anew, see Return.
// The limit of somebody else's queue is not known.
func (d *delivery) worn() bool {
	if d.session.foreign(d.job.Route) {
		return d.earlier > 0
	}
	return d.earlier >= int64(d.session.options.DeliveryLimit)/2
}

func (d *delivery) settle(with func() error) error {
	if !d.settled.CompareAndSwap(false, true) {
		return errSettled
	}
	s := d.session
	if s.Broker.ctx.Err() != nil {
		return broker.ErrClosed
	}
	select {
	case <-s.ended:
		s.counts.droppedAcks.Add(1)
		return nil
	default:
	}
	if err := with(); err != nil {
		// The channel is closed, or its connection is about to be.
		s.counts.droppedAcks.Add(1)
		s.log.Debug("settled after the connection was lost", slog.String("request", d.job.ID), slog.Any("error", err))
	}
	return nil
}
