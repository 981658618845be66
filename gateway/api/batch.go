package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

const (
	maxBatch  = 1000 // requests of a batch
	maxErrors = 100  // things wrong with one that are told at once
)

// readBatch reads the body of POST /v1/batches: the batch, and its requests, as they would be submitted one by one.
func (a *API) readBatch(c *fiber.Ctx, caller auth.Caller) (lifecycle.Submission, []lifecycle.Submission, error) {
	batch := &reader{limits: a.Service.Limits(), routes: a.routes}
	data, err := readPlainJSON(c, a.MaxBody, "A batch is application/json.")
	if err != nil {
		return batch.sub, nil, err
	}
	fields, faults, err := readObject(data, "", "requests") // each of which is read like this
	if err != nil {
		return batch.sub, nil, err
	}
	batch.errs = append(batch.errs, faults...)
	requests := batch.readRequests(fields["requests"])
	for name, raw := range fields {
		switch name {
		case "requests":
		case "id", "topic", "retention":
			batch.field(name, raw)
		case "webhook":
			batch.readWebhook(raw)
		default:
			batch.wrong("/"+strictjson.Escape(name), "is not a field of a batch%s", suggest.Mean(name, []string{"requests", "id", "topic", "retention", "webhook"}))
		}
	}
	batch.distinct(requests)
	for _, r := range requests {
		if room := maxErrors - len(batch.errs); room > 0 {
			batch.errs = append(batch.errs, r.errs[:min(room, len(r.errs))]...)
		}
	}
	if len(batch.errs) > 0 {
		return batch.sub, nil, invalid(batch.errs...)
	}
	batch.fingerprintAll(requests)
	if err := a.oneOffs(caller, append([]*reader{batch}, requests...)); err != nil {
		return batch.sub, nil, err
	}
	members := make([]lifecycle.Submission, len(requests))
	for i, r := range requests {
		members[i] = r.sub
	}
	err = batch.name()
	return batch.sub, members, err
}

// readRequests reads the requests of a batch, each as the body of a submission of its own.
func (r *reader) readRequests(raw json.RawMessage) []*reader {
	var bodies []json.RawMessage
	if json.Unmarshal(raw, &bodies) != nil || len(bodies) == 0 {
		r.wrong("/requests", "is required: an array of 1 to %d requests", maxBatch)
		return nil
	}
	if len(bodies) > maxBatch {
		r.wrong("/requests", "has %d requests, at most %d are allowed", len(bodies), maxBatch)
		return nil
	}
	requests := make([]*reader, len(bodies))
	for i, body := range bodies {
		one := &reader{limits: r.limits, routes: r.routes, at: fmt.Sprint("/requests/", i)}
		if requests[i] = one; !bytes.HasPrefix(body, []byte("{")) || one.envelope(body) != nil {
			one.wrong("", "must be an object: a request with its content and options")
			continue
		}
		one.complete()
	}
	return requests
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

// oneOffs makes the endpoints that are named, the same one once.
func (a *API) oneOffs(caller auth.Caller, all []*reader) error {
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
		if r.sub.Webhook, err = a.oneOff(caller, r.webhook); err != nil {
			return err
		}
		made[which] = r.sub.Webhook.Endpoint
	}
	return nil
}
