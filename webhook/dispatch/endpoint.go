package dispatch

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Endpoint is somebody's URL that events are delivered to.
type Endpoint struct {
	ID          string `json:"id"`
	Owner       string `json:"owner"`
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	Status      Status `json:"status"`
	// Reason says why, when Disabled.
	Reason string `json:"reason,omitempty"`

	// What it wants. An empty list wants all.
	Types  []string `json:"types,omitempty"`
	Routes []string `json:"routes,omitempty"`
	Topics []string `json:"topics,omitempty"` // one that ends in * is a prefix

	Secrets []Secret          `json:"secrets,omitempty"` // the current one first
	Headers map[string]string `json:"headers,omitempty"` // sent with every delivery
	// ContentType is what deliveries say that their body is; "" is [TypeCloudEvent].
	ContentType string `json:"contentType,omitempty"`
	// Form is how much events say; "" is [FormFull].
	Form string `json:"form,omitempty"`

	Timeout time.Duration `json:"timeout"` // of an attempt
	// Between attempts; after the last one it is dead.
	Schedule []time.Duration `json:"schedule"`
	Rate     float64         `json:"rate,omitempty"` // deliveries per second at most; 0: any number
	// Allowed is the highest Rate that the receiver has allowed in its handshake; 0: any.
	Allowed float64 `json:"allowed,omitempty"`
	// Deliveries at a time; 1 keeps the order of each lane.
	Concurrency int `json:"concurrency"`
	// An event that is enqueued supersedes progress of its request that waits and was never
	// claimed.
	Coalesce bool `json:"coalesce,omitempty"`

	// Quota is how many endpoints of its kind, one-off or not, its owner may have when this one is
	// made; 0: any number.
	Quota int `json:"-"`

	// OneOff endpoints are those of requests that name a URL of their own. They get only what
	// names them, and are in no list unless they are Disabled, see [Endpoint.Listed]. One is named
	// by CreateEndpoint, and by every event of a request that has it, from then until the request's
	// ExpiresAt. When it has not been named for the driver's Options.WebhookRetention, and nothing
	// of it can still be delivered, see [Endpoint.Holds], Sweep forgets it with what waits for it.
	OneOff bool `json:"oneOff,omitempty"`

	// Once identifies what made the endpoint, if that came with an idempotency key, see
	// [Service.CreateOnce]. It is sealed, because the secret is a part of that.
	Once []byte `json:"once,omitempty"`

	Challenge string    `json:"challenge,omitempty"` // what proves it, while Pending
	Version   uint64    `json:"version"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// The media types that deliveries may have. Their body is the same.
const (
	// TypeCloudEvent is that of a CloudEvent in structured mode (CloudEvents HTTP Protocol Binding
	// 1.0.2, section 3.2).
	TypeCloudEvent = "application/cloudevents+json"
	// TypeJSON is for receivers whose framework reads no other JSON.
	TypeJSON = "application/json"
)

// The forms of events: CloudEvents either way, with all that there is to say or with what has
// changed.
const (
	FormFull = "full"
	FormThin = "thin"
)

// mediaType is the field Content-Type of deliveries.
func (e *Endpoint) mediaType() string {
	return cmp.Or(e.ContentType, TypeCloudEvent) + "; charset=utf-8"
}

// Status is whether an endpoint gets deliveries.
type Status string

// The statuses.
const (
	Active Status = "active"
	Paused Status = "paused" // events are enqueued and wait
	// Its owner has not proven yet that it may be used; nothing is enqueued.
	Pending  Status = "pending"
	Disabled Status = "disabled" // after failing for too long, or 410 Gone; nothing is enqueued
)

// Secret signs deliveries.
type Secret struct {
	Value []byte    `json:"value"`          // as it is stored: sealed, if a key is configured
	Until time.Time `json:"until,omitzero"` // it signs until then beside the current one
}

// What follows decides for every store. That of Redis has to decide some of it in its scripts,
// where store/redis/scripts/deliveries.lua names the functions that it follows; store/webhooktest
// holds both to the same cases.

// Wants reports whether an event of this type, route and topic is enqueued for e. A OneOff endpoint
// wants nothing by itself. In deliveries.lua: wants, of an endpoint that [Endpoint.Listens].
func (e *Endpoint) Wants(eventType, route, topic string) bool {
	return e.Listens() && wants(e.Types, eventType) && wants(e.Routes, route) &&
		(len(e.Topics) == 0 || slices.ContainsFunc(e.Topics, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return open && strings.HasPrefix(topic, prefix) || pattern == topic
		}))
}

// Listens reports whether there are events that are enqueued for e by themselves.
func (e *Endpoint) Listens() bool { return !e.OneOff && e.Holds() }

// Takes reports whether an event of r of this type is enqueued for e, which is of the same owner:
// because e wants it, or because r names e and wants it to be. In deliveries.lua: deliver.
func (e *Endpoint) Takes(r *lifecycle.Request, t lifecycle.EventType) bool {
	if !e.OneOff {
		return e.Wants(string(t), r.Route, r.Topic)
	}
	return r.Webhook.Wants(t) && r.Webhook.Endpoint == e.ID && e.Holds()
}

func wants(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

// Listed reports whether e is among the endpoints of its owner: one-off ones are as long as they
// are Disabled, so that whoever wonders what became of deliveries finds them.
func (e *Endpoint) Listed() bool { return !e.OneOff || e.Status == Disabled }

// Holds reports whether anything is enqueued for e, and what waits is worth keeping a one-off
// endpoint for: nobody but who names that anew can enable one that is disabled or has not been
// proven.
func (e *Endpoint) Holds() bool { return e.Status == Active || e.Status == Paused }

// Slots is how many deliveries may be lent at a time, all dispatchers together, to an endpoint that
// fares like that: one that is dead, or not known to be alive, has one. In deliveries.lua: room.
func (e *Endpoint) Slots(h Health) int { return min(max(e.Concurrency, 1), h.Successes+1) }

// Ordered reports whether a lane arrives in order. In deliveries.lua: earliest.
func (e *Endpoint) Ordered() bool { return e.Concurrency <= 1 }

// Interval is for how long after one delivery Rate lets no other be lent, 0 if it does not matter.
// Half of the longest duration is its bound, so that a time may be added.
func (e *Endpoint) Interval() time.Duration {
	if e.Rate <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/e.Rate, math.MaxInt64/2))
}

// After returns how an endpoint fares after an attempt at a time that left its delivery in a state.
// In hook_settle.lua of store/redis the same is done.
func (h Health) After(state State, at time.Time) Health {
	switch {
	case state == Delivered:
		h.Failures, h.FailingSince = 0, time.Time{}
		h.Successes++
		h.LastSuccess = at
		return h
	case h.Failures == 0:
		h.FailingSince = at
	}
	h.Failures++
	h.Successes = 0
	return h
}

// MessageID returns the id of the message that carries an event of a request: one of its own for
// each event of each life. It has no dot, which separates it from the rest in what is signed.
func MessageID(of lifecycle.Ref, sequence uint64) string {
	id := of.ID + "_"
	if of.Life != "" {
		id += of.Life + "_"
	}
	return id + strconv.FormatUint(sequence, 10)
}

// LaneOf returns the lane of the messages that carry events of a request, [RequestOf] whose it is.
func LaneOf(of lifecycle.Ref) string { return of.String() }

// RequestOf returns the id of the request whose lane it is.
func RequestOf(lane string) string { return lifecycle.ParseRef(lane).ID }
