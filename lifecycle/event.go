package lifecycle

import (
	"bytes"
	"fmt"
	"strconv"
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
	case EventAccepted, EventStarted, EventProgress, EventRetrying, EventWaiting, EventAnswered,
		EventSucceeded, EventFailed, EventCanceled, EventExpired:
		return true
	}
	return false
}

// Terminal reports whether no event can follow one of type t.
func (t EventType) Terminal() bool {
	return t == EventSucceeded || t == EventFailed || t == EventCanceled || t == EventExpired
}

// EventID is the CloudEvents id of a request's event: unique with its source over all lives of the
// id, and the same on every transport and at every repetition.
func EventID(of Ref, sequence uint64) string {
	return fmt.Sprintf("%s/%d", of, sequence)
}

// Event is an event as clients get it, and what it says of itself beside that, for whoever passes
// it on. Nobody changes one, so all who do may share it.
type Event struct {
	JSON     []byte // CloudEvents 1.0, one line
	Type     EventType
	Request  Ref    // what it tells of; the zero value if that is a place in a feed
	Sequence uint64 // of the request; as are those that follow
	Route    string
	Topic    string
	Time     time.Time // when it came to be, in milliseconds
	Trace    string    // the trace context, see [Request.Traceparent]
}

// NewEvent returns the event that tells of r as it is now. Its JSON is appended to dst.
func NewEvent(dst []byte, r *Request, t EventType) *Event {
	return &Event{
		JSON: AppendEvent(dst, r, t), Type: t, Request: r.Ref(), Sequence: r.Sequence, Route: r.Route, Topic: r.Topic,
		Time: r.UpdatedAt.Truncate(time.Millisecond), Trace: r.Traceparent(),
	}
}

// ID is the CloudEvents id of the event of a request.
func (e *Event) ID() string { return EventID(e.Request, e.Sequence) }

// Subject names the request that the event tells of, "" if it tells of none. Its whole document is
// in each event, so progress is worth nothing once there is a newer one.
func (e *Event) Subject() (request string, progress bool) {
	return e.Request.String(), e.Type == EventProgress
}

// What stands between the members of an event, see ParseEvent.
const (
	eventOpening = `{"specversion":"1.0","id":"`
	eventSource  = `","source":"/v1/requests/`
	eventKind    = `","type":"`
	// The extension of that name, see CloudEvents' Distributed Tracing.
	eventTrace = `","traceparent":"`
	eventTopic = `","subject":"`
	eventTime  = `","time":`
	eventData  = `","datacontenttype":"application/json","data":`
)

// AppendEvent appends the event that tells of r as it is now, as one line of
// CloudEvents 1.0 JSON, to dst. The newest state is in it whole, so that whoever
// shows only the newest event is right.
func AppendEvent(dst []byte, r *Request, t EventType) []byte {
	dst = append(dst, eventOpening...)
	dst = append(dst, r.ID...)
	dst = append(dst, '/')
	if r.Life != "" {
		dst = append(append(dst, r.Life...), '/')
	}
	dst = appendUint(dst, r.Sequence, 1)
	dst = append(dst, eventSource...)
	dst = append(dst, r.ID...)
	dst = append(dst, eventKind...)
	dst = append(dst, t...)
	if trace := r.Traceparent(); trace != "" {
		dst = append(append(dst, eventTrace...), trace...)
	}
	if r.Topic != "" {
		dst = append(dst, eventTopic...)
		dst = append(dst, r.Topic...) // a topic needs no escaping, see ValidTopic
	}
	dst = append(dst, eventTime...)
	dst = appendTime(dst, r.UpdatedAt)
	dst = append(dst, `,"sequence":"`...)
	dst = appendUint(dst, r.Sequence, 10)
	dst = append(dst, eventData...)
	dst = AppendDocument(dst, r, View{})
	return append(dst, '}')
}

// ParseEvent reads an event that was stored as clients get it, which older layouts did, and imports
// do. It goes by the very bytes that AppendEvent begins with, so nothing that anybody may choose,
// which comes later, is taken for them. ok is false if the event begins with anything else: then
// only its JSON is known.
func ParseEvent(text []byte) (e *Event, ok bool) {
	if e = (&Event{JSON: text}); e.parse() {
		return e, true
	}
	return &Event{JSON: text}, false
}

// parse reads the JSON of an event.
func (e *Event) parse() bool {
	rest, ok := bytes.CutPrefix(e.JSON, []byte(eventOpening))
	if !ok {
		return false
	}
	id, rest, _ := bytes.Cut(rest, []byte("/"))
	digits, rest, _ := bytes.Cut(rest, []byte(eventSource))
	if life, behind, lives := bytes.Cut(digits, []byte("/")); lives {
		e.Request.Life, digits = string(life), behind
		if !ValidLife(e.Request.Life) {
			return false
		}
	}
	rest, ok = bytes.CutPrefix(rest, id)
	e.Request.ID = string(id)
	if !ok || !ValidID(e.Request.ID) || bytes.ContainsFunc(digits, notDigit) {
		return false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	rest, ok = bytes.CutPrefix(rest, []byte(eventKind))
	kind, _, closed := bytes.Cut(rest, []byte(`",`))
	e.Sequence, e.Type = sequence, EventType(kind)
	if err != nil || !ok || !closed || !e.Type.Known() && e.Type != EventReset {
		return false
	}
	e.parseRest(rest[len(kind):])
	return true
}

// parseRest reads what stands behind the type, as far as it is what AppendEvent writes.
func (e *Event) parseRest(rest []byte) {
	if behind, ok := bytes.CutPrefix(rest, []byte(eventTrace)); ok && len(behind) >= traceparentLen {
		if trace := string(behind[:traceparentLen]); validTraceparent(trace) {
			e.Trace, rest = trace, behind[traceparentLen:]
		}
	}
	if behind, ok := bytes.CutPrefix(rest, []byte(eventTopic)); ok {
		topic, _, _ := bytes.Cut(behind, []byte(`"`))
		e.Topic, rest = string(topic), behind[len(topic):]
	}
	if behind, ok := bytes.CutPrefix(rest, []byte(eventTime+`"`)); ok {
		at, _, _ := bytes.Cut(behind, []byte(`"`))
		e.Time, _ = time.Parse(time.RFC3339, string(at))
	}
	_, rest, _ = bytes.Cut(rest, []byte(eventData))
	_, rest, _ = bytes.Cut(rest, []byte(documentRoute))
	if quoted, ok := bytes.CutPrefix(rest, []byte(`"`)); ok { // else it is null
		route, _, _ := bytes.Cut(quoted, []byte(`"`))
		e.Route = string(route)
	}
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// FeedReset returns the event that tells a follower of a feed that events
// up to offset are gone. A feed has no document of its own; the link says where
// the requests behind it can be listed.
func FeedReset(c Channel, offset uint64) *Event { return ofFeed(c, "reset/", EventFeedReset, offset) }

// Forgotten returns the event that keeps the place of one that was forgotten with its
// request. It tells nothing of that, and is the same for everybody and whenever it is read.
func Forgotten(c Channel, offset uint64) *Event {
	return ofFeed(c, "forgotten/", EventForgotten, offset)
}

// ofFeed returns an event that is about a place in a feed, and no request.
func ofFeed(c Channel, id string, t EventType, offset uint64) *Event {
	source, list := "/v1/events", "/v1/requests"
	if c.Kind == TopicChannel {
		source, list = "/v1/topics/"+c.Name+"/events", "/v1/requests?topic="+c.Name
	}
	dst := []byte(eventOpening)
	dst = append(dst, id...)
	dst = appendUint(dst, offset, 1)
	dst = append(dst, `","source":"`...)
	dst = append(dst, source...)
	dst = append(dst, eventKind...)
	dst = append(dst, t...)
	dst = append(dst, `","datacontenttype":"application/json","data":{"channel":`...)
	dst = appendString(dst, c.String())
	dst = append(dst, `,"offset":`...)
	dst = appendUint(dst, offset, 1)
	dst = append(dst, `,"links":[`...)
	dst = appendLink(dst, "requests", list, "", "GET")
	return &Event{JSON: append(dst, "]}}"...), Type: t}
}

// appendUint appends n with at least width digits. CloudEvents compares a
// sequence as a string, so it is padded there.
func appendUint(dst []byte, n uint64, width int) []byte {
	var digits [20]byte
	i := len(digits)
	for n > 0 || i == len(digits) {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	for len(digits)-i < width {
		i--
		digits[i] = '0'
	}
	return append(dst, digits[i:]...)
}
