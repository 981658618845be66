// Package wire writes what clients get: status documents and events, and with them the links, which
// nothing else of Hark's inside knows.
package wire

import (
	"github.com/hark-push/hark/lifecycle"
)

// JSON returns an event as clients get it: CloudEvents 1.0, one line. It is the same on every
// transport and at every repetition.
func JSON(e *lifecycle.Event) []byte {
	switch {
	case e.State != nil:
		return AppendEvent(make([]byte, 0, sizeOf(e.State)), e.State, e.Type)
	case e.Place != (lifecycle.Place{}):
		return ofFeed(e.Type, e.Place)
	default:
		return e.Text
	}
}

// sizeOf returns about how many bytes the event has that tells of r.
func sizeOf(r *lifecycle.Request) int {
	const around = 1200 // names, links, times
	size := around + len(r.Message) + len(r.Step)
	if r.Error != nil {
		size += len(r.Error.Message) + len(r.Error.Detail)
	}
	if r.Result != nil {
		size += len(r.Result.Value)
	}
	return size
}

// AppendEvent appends the event that tells of r as it is now, as one line of
// CloudEvents 1.0 JSON, to dst. The newest state is in it whole, so that whoever
// shows only the newest event is right.
func AppendEvent(dst []byte, r *lifecycle.Request, t lifecycle.EventType) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(dst, r.ID...)
	dst = append(dst, '/')
	if r.Life != "" {
		dst = append(append(dst, r.Life...), '/')
	}
	dst = appendUint(dst, r.Sequence, 1)
	dst = append(dst, `","source":"/v1/requests/`...)
	dst = append(dst, r.ID...)
	dst = append(dst, `","type":"`...)
	dst = append(dst, t...)
	if trace := r.Traceparent(); trace != "" {
		// The extension of that name, see CloudEvents' Distributed Tracing.
		dst = append(append(dst, `","traceparent":"`...), trace...)
	}
	if r.Topic != "" {
		dst = append(dst, `","subject":"`...)
		dst = append(dst, r.Topic...) // a topic needs no escaping, see lifecycle.ValidTopic
	}
	dst = append(dst, `","time":`...)
	dst = appendTime(dst, r.UpdatedAt)
	dst = append(dst, `,"sequence":"`...)
	dst = appendUint(dst, r.Sequence, 10)
	dst = append(dst, `","datacontenttype":"application/json","data":`...)
	dst = AppendDocument(dst, r, View{})
	return append(dst, '}')
}

// ofFeed returns an event that is about a place in a feed, and no request. The link says where the
// requests behind the feed can be listed.
func ofFeed(t lifecycle.EventType, at lifecycle.Place) []byte {
	c, id := at.Channel, "reset/"
	if t == lifecycle.EventForgotten {
		id = "forgotten/"
	}
	source, list := "/v1/events", "/v1/requests"
	if c.Kind == lifecycle.TopicChannel {
		source, list = "/v1/topics/"+c.Name+"/events", "/v1/requests?topic="+c.Name
	}
	dst := []byte(`{"specversion":"1.0","id":"`)
	dst = append(dst, id...)
	dst = appendUint(dst, at.Offset, 1)
	dst = append(dst, `","source":"`...)
	dst = append(dst, source...)
	dst = append(dst, `","type":"`...)
	dst = append(dst, t...)
	dst = append(dst, `","datacontenttype":"application/json","data":{"channel":`...)
	dst = appendString(dst, c.String())
	dst = append(dst, `,"offset":`...)
	dst = appendUint(dst, at.Offset, 1)
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
