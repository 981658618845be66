package dispatch

import (
	"cmp"
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

	Timeout  time.Duration   `json:"timeout"`        // of an attempt
	Schedule []time.Duration `json:"schedule"`       // between attempts; after the last one it is dead
	Rate     float64         `json:"rate,omitempty"` // deliveries per second at most; 0: any number
	// Allowed is the highest Rate that the receiver has allowed in its handshake; 0: any.
	Allowed     float64 `json:"allowed,omitempty"`
	Concurrency int     `json:"concurrency"`        // deliveries at a time; 1 keeps the order of each lane
	Coalesce    bool    `json:"coalesce,omitempty"` // an event that is enqueued supersedes progress of its request that waits and was never claimed

	// Quota is how many endpoints of its kind, one-off or not, its owner may have when this one is
	// made; 0: any number.
	Quota int `json:"-"`

	// OneOff endpoints are those of requests that name a URL of their own. They get only what
	// names them, and are in no list unless they are Disabled, see [Endpoint.Listed]. One is named
	// by CreateEndpoint, and by every event of a request that has it, from then until the request's
	// ExpiresAt. When it has not been named for the driver's Options.WebhookRetention, and nothing
	// of it can still be delivered, see [Endpoint.Holds], Sweep forgets it with what waits for it.
	OneOff bool `json:"oneOff,omitempty"`

	Challenge string    `json:"challenge,omitempty"` // what proves it, while Pending
	Version   uint64    `json:"version"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// The media types that deliveries may have. Their body is the same.
const (
	// TypeCloudEvent is that of a CloudEvent in structured mode (CloudEvents HTTP Protocol Binding 1.0.2, section 3.2).
	TypeCloudEvent = "application/cloudevents+json"
	// TypeJSON is for receivers whose framework reads no other JSON.
	TypeJSON = "application/json"
)

// mediaType is the field Content-Type of deliveries.
func (e *Endpoint) mediaType() string {
	return cmp.Or(e.ContentType, TypeCloudEvent) + "; charset=utf-8"
}

// Status is whether an endpoint gets deliveries.
type Status string

// The statuses.
const (
	Active   Status = "active"
	Paused   Status = "paused"   // events are enqueued and wait
	Pending  Status = "pending"  // its owner has not proven yet that it may be used; nothing is enqueued
	Disabled Status = "disabled" // after failing for too long, or 410 Gone; nothing is enqueued
)

// Secret signs deliveries.
type Secret struct {
	Value []byte    `json:"value"`          // as it is stored: sealed, if a key is configured
	Until time.Time `json:"until,omitzero"` // it signs until then beside the current one
}

// Wants reports whether an event of this type, route and topic is enqueued for e. The
// store's own matching must agree with it; a OneOff endpoint wants nothing by itself.
func (e *Endpoint) Wants(eventType, route, topic string) bool {
	if e.OneOff || e.Status == Pending || e.Status == Disabled {
		return false
	}
	return wants(e.Types, eventType) && wants(e.Routes, route) &&
		(len(e.Topics) == 0 || slices.ContainsFunc(e.Topics, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return open && strings.HasPrefix(topic, prefix) || pattern == topic
		}))
}

// Takes reports whether an event of r of this type is enqueued for e, which is of the
// same owner: because e wants it, or because r names e and wants it to be.
func (e *Endpoint) Takes(r *lifecycle.Request, t lifecycle.EventType) bool {
	if !e.OneOff {
		return e.Wants(string(t), r.Route, r.Topic)
	}
	return r.Webhook.Wants(t) && r.Webhook.Endpoint == e.ID && e.Status != Pending && e.Status != Disabled
}

func wants(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

// Listed reports whether e is among the endpoints of its owner: one-off ones are as long as they
// are Disabled, so that whoever wonders what became of deliveries finds them.
func (e *Endpoint) Listed() bool { return !e.OneOff || e.Status == Disabled }

// Holds reports whether what waits for e is worth keeping a one-off endpoint for: nobody but who
// names it anew can enable one that is disabled or has not been proven.
func (e *Endpoint) Holds() bool { return e.Status == Active || e.Status == Paused }

// MessageID returns the id of the message that carries an event of a request: one of its own for each event of each
// life. It has no dot, which separates it from the rest in what is signed.
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
