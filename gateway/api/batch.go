package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// maxBatch is how many requests a batch may have, whatever is configured.
const maxBatch = 1000

// readBatch reads the body of POST /v1/batches: the batch, and its requests, as they would be
// submitted one by one.
func (rules rules) readBatch(c *fiber.Ctx, endpoint func(*oneOff) (*lifecycle.Webhook, error)) (lifecycle.Submission, []lifecycle.Submission, error) {
	batch := rules.reader()
	data, err := httpbody.ReadJSON(c, rules.MaxBody, "A batch is application/json.")
	if err != nil {
		return batch.sub, nil, err
	}
	fields, faults, err := jsonobject.Read(data, "", "requests") // each of which is read like this
	if err != nil {
		return batch.sub, nil, err
	}
	batch.errs = append(batch.errs, faults...)
	requests := batch.readRequests(fields["requests"], rules.MaxBatch)
	for name, raw := range jsonobject.InOrder(fields) {
		switch name {
		case "requests":
		case "id", "topic", "retention", "callbackUrl":
			batch.field(name, raw)
		case "webhook":
			batch.readWebhook(raw)
		default:
			if batch.full() {
				batch.more++
				continue
			}
			batch.wrong("/"+strictjson.Escape(name), "is not a field of a batch%s", suggest.Mean(name, []string{"requests", "id", "topic", "retention", "webhook", "callbackUrl"}))
		}
	}
	batch.oneWebhook()
	batch.idHeader(c, rules.IDHeader)
	batch.distinct(requests)
	for _, r := range requests {
		room := max(problem.MaxErrors-len(batch.errs), 0)
		batch.more += r.more + max(len(r.errs)-room, 0)
		batch.errs = append(batch.errs, r.errs[:min(room, len(r.errs))]...)
	}
	if batch.failed() {
		return batch.sub, nil, batch.invalid()
	}
	batch.fingerprintAll(requests)
	if err := makeOneOffs(endpoint, append([]*reader{batch}, requests...)); err != nil {
		return batch.sub, nil, err
	}
	members := make([]lifecycle.Submission, len(requests))
	for i, r := range requests {
		members[i] = r.sub
	}
	err = batch.name()
	return batch.sub, members, err
}

// readRequests reads the requests of a batch, so many at most, each as the body of a submission of
// its own.
func (r *reader) readRequests(raw json.RawMessage, most int) []*reader {
	if !bytes.HasPrefix(raw, []byte("[")) {
		r.wrong("/requests", "is required: an array of 1 to %d requests", most)
		return nil
	}
	count := 0
	strictjson.Elements(raw, func(json.RawMessage) bool { count++; return true })
	switch {
	case count == 0:
		r.wrong("/requests", "is required: an array of 1 to %d requests", most)
		return nil
	case count > most:
		r.wrong("/requests", "has %d requests, at most %d are allowed", count, most)
		return nil
	}
	requests := make([]*reader, 0, count)
	told := 0
	strictjson.Elements(raw, func(body json.RawMessage) bool {
		one := &reader{limits: r.limits, routes: r.routes, at: fmt.Sprint("/requests/", len(requests)), told: told}
		requests = append(requests, one)
		switch err := one.object(body); {
		case err == nil:
			one.complete()
		case len(err.Errors) > 0: // an object that is none of ours
			one.wrong("", "%s", err.Errors[0].Detail)
		default:
			one.wrong("", "must be an object: a request with its content and options")
		}
		told += len(one.errs)
		return true
	})
	return requests
}

// object reads one request of a batch.
func (r *reader) object(body json.RawMessage) *problem.Details {
	p, _ := errors.AsType[*problem.Details](r.envelope(body))
	return p
}

// distinct checks that no id is given twice.
func (r *reader) distinct(requests []*reader) {
	where := make(map[string]string, len(requests)+1)
	if r.sub.ID != "" {
		where[r.sub.ID] = "the batch"
	}
	for _, one := range requests {
		if one.sub.ID == "" {
			continue
		}
		if other, taken := where[one.sub.ID]; taken {
			one.wrong("/id", "is the id of %s, too", other)
			continue
		}
		where[one.sub.ID] = one.at
	}
}

// fingerprintAll identifies a batch with all that it holds.
func (r *reader) fingerprintAll(requests []*reader) {
	var all strings.Builder
	for _, one := range requests {
		all.WriteString(one.sub.Fingerprint + "\n")
	}
	whole := r.sub
	whole.Content = lifecycle.Content{Type: "batch", Data: []byte(all.String())}
	r.sub.Fingerprint = fingerprint(&whole, r.webhook)
}

// makeOneOffs makes the endpoints that are named, the same one once.
func makeOneOffs(endpoint func(*oneOff) (*lifecycle.Webhook, error), all []*reader) error {
	made := make(map[[2]string]string)
	for _, r := range all {
		if r.webhook == nil {
			continue
		}
		which := [2]string{*r.webhook.URL, r.webhook.Secret}
		if id, ok := made[which]; ok {
			r.sub.Webhook = &lifecycle.Webhook{Endpoint: id, Types: r.webhook.Events}
			continue
		}
		var err error
		if r.sub.Webhook, err = endpoint(r.webhook); err != nil {
			return err
		}
		made[which] = r.sub.Webhook.Endpoint
	}
	return nil
}
