package rabbitmq

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hark-push/hark/broker"
)

// A job on the wire is a small JSON document; the message id is the job's, or the request's if that
// has none.
const (
	contentType       = "application/vnd.hark.job+json"
	versionHeader     = "hark-version"
	version           = 1
	redeliveredHeader = "hark-redelivered" // set when a job that was handed out is published anew
	countHeader       = "x-delivery-count" // the server's: earlier deliveries of this message
)

type wireJob struct {
	ID        string    `json:"id"`
	Life      string    `json:"life,omitempty"`
	Owner     string    `json:"-"` // a queue of the server's has one order for all
	Route     string    `json:"route"`
	Priority  int       `json:"priority,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	Sequence  uint64    `json:"sequence,omitempty"`
	Message   string    `json:"message,omitempty"`
}

// ordinary is the rank of a message that names none, on servers that tell more than two apart; from
// there a job's priority goes up. The library does not send a 0.
const ordinary = 4

// maxKey is how long a message id or a routing key may be, in bytes.
const maxKey = 255

func encode(j broker.Job, redelivered bool) (amqp.Publishing, error) {
	if j.ID == "" || len(j.ID) > maxKey {
		return amqp.Publishing{}, fmt.Errorf("job id of %d bytes: 1 to %d are allowed", len(j.ID), maxKey)
	}
	body, err := json.Marshal(wireJob(j))
	if err != nil {
		return amqp.Publishing{}, fmt.Errorf("job %s: %w", j.ID, err)
	}
	headers := amqp.Table{versionHeader: int32(version)}
	if redelivered {
		headers[redeliveredHeader] = true
	}
	return amqp.Publishing{
		Headers:      headers,
		ContentType:  contentType,
		DeliveryMode: amqp.Persistent,
		Priority:     ordinary + uint8(min(max(j.Priority, 0), 9)),
		MessageId:    cmp.Or(j.Message, j.ID),
		Timestamp:    time.Now(),
		Body:         body,
	}, nil
}

// decode reads a job and whether it was handed out before. An error says why the
// message is none.
func decode(d *amqp.Delivery) (_ broker.Job, redelivered bool, _ error) {
	if d.ContentType != contentType {
		return broker.Job{}, false, fmt.Errorf("content type %q", d.ContentType)
	}
	if v := integer(d.Headers[versionHeader]); v != version {
		return broker.Job{}, false, fmt.Errorf("version %v of a job, this is %d", d.Headers[versionHeader], version)
	}
	var j wireJob
	if err := json.Unmarshal(d.Body, &j); err != nil {
		return broker.Job{}, false, err
	}
	if j.ID == "" {
		return broker.Job{}, false, errors.New("no id")
	}
	again, _ := d.Headers[redeliveredHeader].(bool)
	return broker.Job(j), again || d.Redelivered || deliveries(d) > 0, nil
}

// deliveries is how often the message was delivered before.
func deliveries(d *amqp.Delivery) int64 { return integer(d.Headers[countHeader]) }

// integer reads a number of a table, whatever its width.
func integer(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int8:
		return int64(n)
	case uint8:
		return int64(n)
	}
	return 0
}
