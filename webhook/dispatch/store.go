package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Store keeps endpoints and their deliveries. Two drivers exist, and
// store/webhooktest holds both against this specification.
//
// Deliveries of events are not made here: the store makes them itself, in the atomic step
// that appends an event to the feed of its owner, one for each endpoint of that owner that
// takes it (see [Endpoint.Takes]), the one-off endpoint that the request names
// among them. So no event that was stored is without its deliveries, whatever dies.
//
// Every method may be called from many goroutines and processes at once. Errors wrap
// lifecycle.ErrUnavailable if the store cannot be used now. The store has the clock: what is
// given to it as a duration counts from its own time, and every time it hands out is its own.
type Store interface {
	Endpoints
	Deliveries
	Queue
}

// Endpoints is where endpoints are kept. Each belongs to an owner, and nobody else sees it.
type Endpoints interface {
	// CreateEndpoint stores a new endpoint, its Version 1, and returns it with its times. If there
	// is one with its id, that is ErrExists, unless both are OneOff and of one owner: then that one
	// is returned, and lives on for its time from now. ErrQuota if its owner has as many of its
	// kind as its Quota.
	CreateEndpoint(ctx context.Context, e Endpoint) (Endpoint, error)

	// Endpoint returns an endpoint and how it fares. ErrNotFound.
	Endpoint(ctx context.Context, owner, id string) (Endpoint, Health, error)

	// EndpointOwner returns whose endpoint an id names: ids are unique over all owners.
	// ErrNotFound.
	EndpointOwner(ctx context.Context, id string) (string, error)

	// ListEndpoints returns the endpoints of an owner that are Listed, newest first. after is the
	// id of the last one of the page before, "" for the first page; ErrNotFound if that one is
	// gone.
	ListEndpoints(ctx context.Context, owner, after string, limit int) ([]Endpoint, error)

	// ListAllEndpoints is ListEndpoints of all owners.
	ListAllEndpoints(ctx context.Context, after string, limit int) ([]Endpoint, error)

	// UpdateEndpoint replaces an endpoint as it was read: ErrConflict if its Version
	// is not the one stored. The new one has the next Version. ErrNotFound. From then on
	// the new one says what is enqueued and claimed. An endpoint that becomes Active
	// begins anew: its failures are forgotten, and it is not held any more.
	UpdateEndpoint(ctx context.Context, e Endpoint) (Endpoint, error)

	// DeleteEndpoint forgets an endpoint with its deliveries, also those under way. ErrNotFound.
	DeleteEndpoint(ctx context.Context, owner, id string) error

	// PutIfAbsent stores a value under a name for good, unless there is one already, and returns
	// the one that is there.
	PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error)
}

// Deliveries is the log of an endpoint: what is to be delivered, was delivered, or is given up.
// What is settled is kept for the driver's Options.WebhookRetention after it was, what is not for
// as long as it takes. The next Sweep of the store (see lifecycle.Housekeeping) after that forgets
// it; neither what Sweep says to have done nor when the next one is due counts it.
type Deliveries interface {
	// Enqueue makes deliveries of messages to an endpoint, in their order, as the store does for
	// events, but whatever the endpoint wants, whatever its status, and without superseding
	// anything. A message that there is a delivery of already, settled or not, is left out. It
	// returns how many were made. ErrNotFound if there is no such endpoint.
	Enqueue(ctx context.Context, owner, endpoint string, messages []Message) (int, error)

	// ListDeliveries returns deliveries of an endpoint, the one enqueued last first, without
	// their attempts. ErrNotFound if there is no such endpoint, lifecycle.ErrCursor.
	ListDeliveries(ctx context.Context, owner, endpoint string, q Query) (Page, error)

	// Delivery returns a delivery with its attempts, oldest first. ErrNotFound.
	Delivery(ctx context.Context, owner, endpoint, id string) (Delivery, error)

	// Resend makes a delivery due at once, whatever its state, with its schedule beginning anew;
	// its attempts stay in the log, and it keeps its place in its lane. While it is being sent that
	// is ErrConflict. ErrNotFound.
	Resend(ctx context.Context, owner, endpoint, id string) error
}

// Queue hands deliveries out to dispatchers.
type Queue interface {
	// Claim takes deliveries that are due, at most limit, and lends them to the caller, each for
	// its endpoint's Timeout and a grace: as long as the lease has not run out, nobody else gets
	// them; when it has and they are not settled, they are due again at once. Of an endpoint it
	// takes
	//
	//   - none unless it is Active, and none while it is held;
	//   - no more than its Concurrency at a time, all dispatchers together, and no more than
	//     one more than it has had successes since its last failure, so that one that is dead,
	//     or not known to be alive, takes one slot;
	//   - no more per second than its Rate, spread evenly;
	//   - the one due first, and if its Concurrency is 1, of each lane only the one enqueued first that is
	//     not settled, so that a lane arrives in order although deliveries fail.
	//
	// Endpoints take turns: one with much due does not keep the others waiting. Next says
	// when to claim again, if nothing new comes: how long until something may be claimed (leases
	// that run out, holds that end and rates that allow it included), 0 if that is
	// now. It is never more than [MaxNext], which it is when there is nothing to wait for.
	Claim(ctx context.Context, limit int, grace time.Duration) (claims []Claim, next time.Duration, err error)

	// Settle ends a claim: it adds the attempt to the log, and then the delivery is Delivered,
	// or Dead, or due again after a time. It returns how the endpoint fares now.
	// ErrNotClaimed if the lease has run out and the delivery was claimed by somebody
	// else or resent since, if it was settled already, or is gone; then nothing changes. Of
	// the claim it needs the message's ID, the endpoint's Owner and ID, and the Token.
	//
	// Delivered is a success of the endpoint, the others are failures of it.
	Settle(ctx context.Context, c Claim, o Outcome) (Health, error)

	// Hold lets nothing of an endpoint be claimed for a time, unless it is
	// held for longer already. ErrNotFound.
	Hold(ctx context.Context, owner, endpoint string, d time.Duration) error

	// OnDue calls f when something may have become due before the time that Claim
	// said, until stop is called. It is a hint. f must not block.
	OnDue(f func()) (stop func())
}

// MaxNext is the longest time until the next [Queue.Claim].
const MaxNext = time.Hour

// The errors of a [Store].
var (
	ErrNotFound   = errors.New("no such endpoint or delivery")
	ErrExists     = errors.New("there is an endpoint with this id")
	ErrQuota      = errors.New("its owner has as many endpoints as it may have")
	ErrOneOffs    = errors.New("its owner has as many endpoints for one request as it may have")
	ErrConflict   = errors.New("it was changed meanwhile")
	ErrNotClaimed = errors.New("the claim does not hold any more")
)

// Message is what is delivered: one event.
type Message struct {
	// ID is the webhook-id, stable over endpoints and attempts: the request and the
	// sequence of the event, see [MessageID].
	ID string
	// Lane is what keeps its order: one life of a request, see [LaneOf].
	Lane string
	// Type is that of the event.
	Type string
	// Body is what is sent, the CloudEvent, as it is enqueued. A store keeps it once for all
	// endpoints.
	Body []byte
	// Event is what a store tells of it instead.
	Event *lifecycle.Event
}

// Claim is a delivery that is lent to a dispatcher.
type Claim struct {
	Message
	Endpoint Endpoint // as it is now
	Health   Health
	// The number of the attempt that this is for, from 1, since it was enqueued or resent.
	Attempt int
	At      time.Time // when it was claimed
	Token   string    // proves the claim
}

// Outcome is how an attempt went.
type Outcome struct {
	Attempt Attempt
	State   State         // Delivered, Dead, or Waiting: to be tried again
	After   time.Duration // when Waiting
}

// State is where a delivery stands.
type State string

// The states.
const (
	Waiting    State = "waiting"    // for its time, its turn, or its endpoint
	Sending    State = "sending"    // claimed
	Delivered  State = "delivered"  // answered with 2xx
	Dead       State = "dead"       // given up; it may be resent
	Superseded State = "superseded" // a newer one of its lane took its place before it was sent
)

// Delivery is a message on its way to one endpoint.
type Delivery struct {
	ID        string // of the message
	Lane      string
	Type      string
	State     State
	Attempts  int       // made so far, those before it was resent among them
	Due       time.Time // next attempt, when Waiting
	CreatedAt time.Time
	SettledAt time.Time        // zero until then
	Event     *lifecycle.Event // only from [Deliveries.Delivery]
	Log       []Attempt        // likewise; the last 50
}

// Attempt is one try to deliver.
type Attempt struct {
	At       time.Time     `json:"at"` // when it was settled; set by the store
	Latency  time.Duration `json:"latency"`
	Status   int           `json:"status"` // of HTTP; 0 if there was no answer
	Class    string        `json:"class"`  // of the error, see the constants; "" if there was none
	Response []byte        `json:"response,omitempty"`
	// The media type of the body, if it was refused for that.
	Sent string `json:"sent,omitempty"`
}

// Query selects deliveries. Empty fields select all.
type Query struct {
	State  State
	Type   string
	Cursor string // Next of the page before; "" for the newest
	Limit  int    // 1 or more
}

// Page is a part of a list. It may hold fewer than the limit although more follow.
type Page struct {
	Deliveries []Delivery
	Next       string // cursor of the next page, "" at the end
}

// Health is how an endpoint fares.
type Health struct {
	// Attempts that failed since the last that did not.
	Failures int `json:"failures"`
	// Attempts that did not since the last that failed.
	Successes    int       `json:"successes"`
	FailingSince time.Time `json:"failingSince,omitzero"` // time of the first of those
	LastSuccess  time.Time `json:"lastSuccess,omitzero"`
	HeldUntil    time.Time `json:"heldUntil,omitzero"`
	Waiting      int       `json:"waiting"`
	Sending      int       `json:"sending"`
}
