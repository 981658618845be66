// Package broker carries work from the gateway to the processors. broker/memory
// does it inside one process, broker/rabbitmq between many; both pass the suite in
// broker/brokertest, which is this package's specification in code.
//
// A job names a request and carries nothing of it: the content stays in the store
// and is read when an attempt starts (the claim-check pattern), so that a queue
// never holds megabytes and a job that is delivered twice does no harm.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

// Errors of a [Broker], wrapped or as they are.
var (
	// ErrClosed: the broker was closed.
	ErrClosed = errors.New("broker is closed")
	// ErrUnavailable: the broker cannot take the job now, or did not confirm it.
	ErrUnavailable = errors.New("broker is unavailable")
	// ErrUnknownRoute: no queue was declared for the route.
	ErrUnknownRoute = errors.New("unknown route")
)

// Job is the note that a request waits for a processor.
type Job struct {
	ID        string // the request's
	Life      string // which of all requests that ever had this id; "" if that is not known
	Owner     string // who asked for it; a driver may have owners take turns, or not carry it
	Route     string
	Priority  int       // 0 to 9, higher first; a driver may know fewer levels
	NotBefore time.Time // zero: at once
	// That of the request's event since which it waits; a job with a lower one is out of date.
	Sequence uint64
	// Names this note: another one for the same request has another name, a copy of it the same.
	Message string
}

// NewMessage returns the name of a new message, random.
func NewMessage() string { return rand.Text()[:16] }

// Delivery is a job handed to one consumer. Exactly one of Ack and Return must be
// called, once; a delivery whose consumer goes away without either is handed out
// again with Redelivered set.
type Delivery interface {
	Job() Job
	// Redelivered reports whether the job may have been handed out before.
	Redelivered() bool
	// Ack says that the job needs no further delivery.
	Ack() error
	// Return hands the job back, to be delivered again as soon as possible.
	Return() error
}

// Broker carries jobs. All methods may be called concurrently.
type Broker interface {
	// Publish returns nil once the broker is responsible for the job: it will
	// be delivered at least once, not before NotBefore, unless it is discarded.
	// After an error the job was not taken; if ctx ended, or a driver between
	// processes says ErrUnavailable, it may have been all the same.
	Publish(ctx context.Context, j Job) error

	// Discard tells that nobody needs the job any more, nor an older one of that life of its
	// request. A hint: they may be delivered all the same.
	Discard(j Job)

	// Consume delivers the jobs of the routes to handle, at most prefetch at a time, each in a
	// goroutine of its own: those of higher priority first, then, of one owner and route, the older
	// first. A driver may have owners take turns, else the older are first whoever asked; one whose
	// jobs lie in parts keeps to that in each. It blocks until ctx ends, then takes no more, waits
	// until every handle that is running has returned, and returns nil. It survives the loss of a
	// connection; it returns ErrUnknownRoute or ErrClosed.
	Consume(ctx context.Context, routes []string, prefetch int, handle func(Delivery)) error

	// Close ends every Consume and releases what the broker holds. Deliveries
	// that are neither acknowledged nor returned go back.
	Close() error
}
