package lifecycle

import (
	"bytes"
	"fmt"
	"strconv"
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
	case EventAccepted, EventStarted, EventProgress, EventRetrying, EventSucceeded, EventFailed, EventCanceled, EventExpired:
		return true
	}
	return false
}

// Terminal reports whether no event can follow one of type t.
func (t EventType) Terminal() bool {
	return t == EventSucceeded || t == EventFailed || t == EventCanceled || t == EventExpired
}

// EventID is the CloudEvents id of a request's event: unique with its source over all lives of the id,
// and the same on every transport and at every repetition.
func EventID(of Ref, sequence uint64) string {
	return fmt.Sprintf("%s/%d", of, sequence)
}

// What stands between the members that begin an event, see EventSubject.
const (
	eventOpening = `{"specversion":"1.0","id":"`
	eventSource  = `","source":"/v1/requests/`
	eventKind    = `","type":"`
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
	if trace := r.Traceparent(); trace != "" { // the extension of that name, see CloudEvents' Distributed Tracing
		dst = append(append(dst, eventTrace...), trace...)
	}
	if r.Topic != "" {
		dst = append(dst, `","subject":"`...)
		dst = append(dst, r.Topic...) // a topic needs no escaping, see ValidTopic
	}
	dst = append(dst, `","time":`...)
	dst = appendTime(dst, r.UpdatedAt)
	dst = append(dst, `,"sequence":"`...)
	dst = appendUint(dst, r.Sequence, 10)
	dst = append(dst, `","datacontenttype":"application/json","data":`...)
	dst = AppendDocument(dst, r, View{})
	return append(dst, '}')
}

// Subject is what an event tells of.
type Subject struct {
	Request  Ref
	Sequence uint64
	Type     EventType
}

// EventSubject returns what an event of [AppendEvent] tells of. It goes by the very bytes that AppendEvent begins with,
// so nothing that anybody may choose, which comes later, is taken for them. ok is false if the event begins with
// anything else.
func EventSubject(event []byte) (s Subject, ok bool) {
	rest, ok := bytes.CutPrefix(event, []byte(eventOpening))
	if !ok {
		return Subject{}, false
	}
	id, rest, _ := bytes.Cut(rest, []byte("/"))
	digits, rest, _ := bytes.Cut(rest, []byte(eventSource))
	if life, behind, lives := bytes.Cut(digits, []byte("/")); lives {
		s.Request.Life, digits = string(life), behind
		if !ValidLife(s.Request.Life) {
			return Subject{}, false
		}
	}
	rest, ok = bytes.CutPrefix(rest, id)
	s.Request.ID = string(id)
	if !ok || !ValidID(s.Request.ID) || bytes.ContainsFunc(digits, notDigit) {
		return Subject{}, false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	rest, ok = bytes.CutPrefix(rest, []byte(eventKind))
	kind, _, closed := bytes.Cut(rest, []byte(`",`))
	s.Sequence, s.Type = sequence, EventType(kind)
	if err != nil || !ok || !closed || !s.Type.Known() && s.Type != EventReset {
		return Subject{}, false
	}
	return s, true
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// AppendFeedReset appends the event that tells a follower of a feed that events
// up to offset are gone. A feed has no document of its own; the link says where
// the requests behind it can be listed.
func AppendFeedReset(dst []byte, c Channel, offset uint64) []byte {
	return appendOfFeed(dst, c, "reset/", EventFeedReset, offset)
}

// AppendForgotten appends the event that keeps the place of one that was forgotten with its
// request. It tells nothing of that, and is the same for everybody and whenever it is read.
func AppendForgotten(dst []byte, c Channel, offset uint64) []byte {
	return appendOfFeed(dst, c, "forgotten/", EventForgotten, offset)
}

// appendOfFeed appends an event that is about a place in a feed, and no request.
func appendOfFeed(dst []byte, c Channel, id string, t EventType, offset uint64) []byte {
	source, list := "/v1/events", "/v1/requests"
	if c.Kind == TopicChannel {
		source, list = "/v1/topics/"+c.Name+"/events", "/v1/requests?topic="+c.Name
	}
	dst = append(dst, eventOpening...)
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
	return append(dst, "]}}"...)
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
