package redis

import (
	"strings"

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

// message is the event as listeners get it.
func (e event) message() lifecycle.Message {
	return lifecycle.Message{Offset: e.offset, Event: e.Event, Last: e.last}
}

// decodeEvent makes an event of what is stored. Its offset is the one in the channel of its
// request.
func decodeEvent(value string) (event, error) {
	if strings.HasPrefix(value, "{") { // of layout 1
		e, ok := codec.ParseEvent([]byte(value))
		if !ok {
			return event{}, errDamaged
		}
		return event{e, e.Sequence, e.Type.Terminal(), value[:min(len(value), tokenSize)]}, nil
	}
	r := new(record)
	if err := r.decode(value); err != nil {
		return event{}, err
	}
	if r.event == "" {
		return event{}, errDamaged
	}
	return event{lifecycle.NewEvent(&r.Request, r.event), r.Sequence, r.event.Terminal(), r.token}, nil
}

// messageOf reads what a webhook delivery tells of as it is stored: an event, or what came as it
// is.
func messageOf(value string) (*lifecycle.Event, error) {
	if strings.HasPrefix(value, "{") {
		e, _ := codec.ParseEvent([]byte(value))
		return e, nil
	}
	e, err := decodeEvent(value)
	return e.Event, err
}
