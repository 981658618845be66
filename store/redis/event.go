package redis

import (
	"strings"
	"sync"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/parts"
)

// event is an event of a channel together with what names the write that stored it.
type event struct {
	hub.Message
	token string
	of    lifecycle.Ref // whose it is
}

// decodeEvent makes of an event as it is stored what clients get. Its offset is the one in the channel of its request.
func decodeEvent(value string) (event, error) {
	if strings.HasPrefix(value, "{") { // of layout 1
		e := event{Message: hub.Message{Event: []byte(value)}, token: value[:min(len(value), tokenSize)]}
		subject, ok := lifecycle.EventSubject(e.Event)
		if !ok {
			return event{}, errDamaged
		}
		e.Offset, e.Last, e.of = subject.Sequence, subject.Type.Terminal(), subject.Request
		return e, nil
	}
	r := records.Get().(*record) // nothing else is in there
	defer records.Put(r)
	*r = record{}
	if err := r.decode(value); err != nil {
		return event{}, err
	}
	if r.event == "" {
		return event{}, errDamaged
	}
	return event{hub.Message{Offset: r.Sequence, Last: r.event.Terminal(), Event: parts.Event(&r.Request, r.event, len(value))}, r.token, r.Ref()}, nil
}

// records are for one event each: what it is made of is large, and not needed any more when it is made.
var records = sync.Pool{New: func() any { return new(record) }}

// bodyOf makes of the body of a webhook delivery as it is stored what is delivered: it is an event, or came as it is.
func bodyOf(value string) ([]byte, error) {
	if strings.HasPrefix(value, "{") {
		return []byte(value), nil
	}
	e, err := decodeEvent(value)
	return e.Event, err
}
