package lifecycle

import (
	"fmt"
	"time"
)

// EventType is the CloudEvents type of an event.
type EventType string

// The types of event. Reset is never stored: the hub sends it to a follower
// that missed events which are no longer there. Forgotten stands in a feed for an event
// whose request was deleted, or whose retention has passed.
const (
	EventAccepted  EventType = "request.accepted"
	EventStarted   EventType = "request.started"
	EventProgress  EventType = "request.progress"
	EventRetrying  EventType = "request.retrying"
	EventWaiting   EventType = "request.waiting"
	EventAnswered  EventType = "request.answered"
	EventRedriven  EventType = "request.redriven"
	EventSucceeded EventType = "request.succeeded"
	EventFailed    EventType = "request.failed"
	EventCanceled  EventType = "request.canceled"
	EventExpired   EventType = "request.expired"
	EventReset     EventType = "request.reset"
	EventFeedReset EventType = "feed.reset"
	EventForgotten EventType = "feed.forgotten"
)

// Known reports whether t is the type of an event that stands in a request's life.
func (t EventType) Known() bool {
	switch t {
	case EventAccepted, EventStarted, EventProgress, EventRetrying, EventWaiting, EventAnswered, EventRedriven,
		EventSucceeded, EventFailed, EventCanceled, EventExpired:
		return true
	}
	return false
}

// Terminal reports whether a request has ended with an event of type t. What has failed may be
// redriven, so another event may follow all the same.
func (t EventType) Terminal() bool {
	return t == EventSucceeded || t == EventFailed || t == EventCanceled || t == EventExpired
}

// EventID is the CloudEvents id of a request's event: unique with its source over all lives of the
// id, and the same on every transport and at every repetition.
func EventID(of Ref, sequence uint64) string {
	return fmt.Sprintf("%s/%d", of, sequence)
}

// Event is what happened, as a value: who tells clients of it makes bytes of it then, and with them
// the links, because nobody else knows where anything is. Nobody changes one, so all who pass it on
// may share it.
type Event struct {
	Type     EventType
	Request  Ref    // what it tells of; the zero value if that is a place in a feed
	Sequence uint64 // of the request; as are those that follow
	Route    string
	Topic    string
	Time     time.Time // when it came to be, in milliseconds
	Trace    string    // the trace context, see [Request.Traceparent]

	// What it says is one of these.
	State *Request // how the request was after it, whole
	Place Place    // where in a feed there is nothing else to be told
	Text  []byte   // an event that is kept as clients got it: by an older layout, by an import
}

// Place is one in a feed.
type Place struct {
	Channel Channel
	Offset  uint64
}

// NewEvent returns the event that tells of r as it is now. Nobody changes r any more.
func NewEvent(r *Request, t EventType) *Event {
	return &Event{
		Type: t, Request: r.Ref(), Sequence: r.Sequence, Route: r.Route, Topic: r.Topic,
		Time: r.UpdatedAt.Truncate(time.Millisecond), Trace: r.Traceparent(), State: r,
	}
}

// FeedReset returns the event that tells a follower of a feed that events
// up to offset are gone. A feed has no document of its own.
func FeedReset(c Channel, offset uint64) *Event {
	return &Event{Type: EventFeedReset, Place: Place{c, offset}}
}

// Forgotten returns the event that keeps the place of one that was forgotten with its
// request. It tells nothing of that, and is the same for everybody and whenever it is read.
func Forgotten(c Channel, offset uint64) *Event {
	return &Event{Type: EventForgotten, Place: Place{c, offset}}
}

// ID is the CloudEvents id of the event of a request.
func (e *Event) ID() string { return EventID(e.Request, e.Sequence) }
