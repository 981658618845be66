package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// eventContentType is that of a CloudEvent in JSON, the structured content mode.
const eventContentType = "application/cloudevents+json"

// Event is a CloudEvent for the callback exchange.
type Event struct {
	ID, Type string    // the CloudEvent's; they become the message's
	Time     time.Time // likewise; AMQP keeps the second
	Key      string    // the routing key; "" for none
	Body     []byte    // CloudEvents JSON
}

// ExchangeNames says what [ValidExchange] allows.
const ExchangeNames = "1 to 255 bytes without control characters that do not begin with amq."

// ValidExchange reports whether an exchange can be declared under a name. The server keeps the
// empty name and those that begin with "amq." for its own.
func ValidExchange(name string) bool {
	return name != "" && len(name) <= maxKey && utf8.ValidString(name) &&
		!strings.HasPrefix(name, "amq.") && !strings.ContainsFunc(name, unicode.IsControl)
}

var errNoExchange = errors.New("rabbitmq: no callback exchange was set")

// PublishEvents publishes events to the callback exchange, one after the other without
// waiting in between, and returns how many of the first were confirmed; all if there is
// no error. Errors are those of Publish. Those behind the confirmed ones may have been
// taken all the same: publish them again, from there on, to keep the order.
//
// That no queue is bound is fine. An event is confirmed once every queue that it was routed to
// has it; one that is full and refuses (x-overflow: reject-publish) fails it.
func (b *Broker) PublishEvents(ctx context.Context, events []Event) (confirmed int, err error) {
	switch {
	case b.options.CallbackExchange == "":
		return 0, errNoExchange
	case b.ctx.Err() != nil:
		return 0, broker.ErrClosed
	}
	all := make([]*publication, len(events))
	for i, e := range events {
		if len(e.ID) > maxKey || len(e.Type) > maxKey || len(e.Key) > maxKey {
			return 0, fmt.Errorf("event %.64q: its id, type and key must not exceed %d bytes", e.ID, maxKey)
		}
		all[i] = newPublication(b.options.CallbackExchange, e.Key, false, amqp.Publishing{
			ContentType: eventContentType, DeliveryMode: amqp.Persistent,
			MessageId: e.ID, Type: e.Type, Timestamp: e.Time, Body: e.Body,
		})
	}
	return b.publishAll(ctx, all)
}
