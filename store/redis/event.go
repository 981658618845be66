package redis

import (
	"strings"
	"sync"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// event is an event as it stands in a channel, together with what names the write that stored it.
type event struct {
	*lifecycle.Event
	offset uint64
	last   bool
	token  string
}

// message is the event as the hub gets it.
func (e event) message() hub.Message {
	return hub.Message{Offset: e.offset, Event: e.JSON, Last: e.last, About: e.Event}
}

// decodeEvent makes an event of what is stored. Its offset is the one in the channel of its
// request.
func decodeEvent(value string) (event, error) {
	if strings.HasPrefix(value, "{") { // of layout 1
		e, ok := lifecycle.ParseEvent([]byte(value))
		if !ok {
			return event{}, errDamaged
		}
		return event{e, e.Sequence, e.Type.Terminal(), value[:min(len(value), tokenSize)]}, nil
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
	return event{codec.Event(&r.Request, r.event, len(value)), r.Sequence, r.event.Terminal(), r.token}, nil
}

// records are for one event each: what it is made of is large, and not needed any more when it is
// made.
var records = sync.Pool{New: func() any { return new(record) }}

// bodyOf reads the body of a webhook delivery as it is stored: it is an event, or came as it is.
func bodyOf(value string) (*lifecycle.Event, error) {
	if strings.HasPrefix(value, "{") {
		e, _ := lifecycle.ParseEvent([]byte(value))
		return e, nil
	}
	e, err := decodeEvent(value)
	return e.Event, err
}
