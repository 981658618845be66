package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
func (rules rules) readBatch(c *fiber.Ctx, endpoint func(*oneOff) (*lifecycle.Webhook, error)) (submittedBatch, error) {
	batch := rules.reader()
	data, err := httpbody.ReadJSON(c, rules.MaxBody, "A batch is application/json.")
	if err != nil {
		return submittedBatch{}, err
	}
	fields, faults, err := jsonobject.Read(data, "", "requests", "then") // which are read like this
	if err != nil {
		return submittedBatch{}, err
	}
	batch.errs = append(batch.errs, faults...)
	batch.sub.Batch = &lifecycle.Batch{Limit: int64(rules.MaxBody)}
	requests := batch.readRequests(fields["requests"], rules.MaxBatch)
	all := requests
	then := batch.readThen(fields["then"], requests)
	if then != nil {
		all = append(slices.Clip(requests), then)
	}
	for name, raw := range jsonobject.InOrder(fields) {
		switch name {
		case "requests", "then":
		case "onFailure":
			batch.sub.Batch.FailFast = batch.oneOf(name, raw, "continue", "cancel") == "cancel"
		case "result":
			batch.sub.Batch.Joined = batch.oneOf(name, raw, "joined") == "joined"
		case "id", "topic", "retention", "callbackUrl":
			batch.field(name, raw)
		case "webhook":
			batch.readWebhook(raw)
		default:
			if batch.full() {
				batch.more++
				continue
			}
			batch.wrong("/"+strictjson.Escape(name), "is not a field of a batch%s", suggest.Mean(name, []string{"requests", "id", "topic", "retention", "onFailure", "result", "then", "webhook", "callbackUrl"}))
		}
	}
	batch.oneWebhook()
	batch.idHeader(c, rules.IDHeader)
	batch.distinct(requests)
	for _, r := range all {
		room := max(problem.MaxErrors-len(batch.errs), 0)
		batch.more += r.more + max(len(r.errs)-room, 0)
		batch.errs = append(batch.errs, r.errs[:min(room, len(r.errs))]...)
	}
	if batch.failed() {
		return submittedBatch{}, batch.invalid()
	}
	batch.fingerprintAll(requests, then)
	if err := makeOneOffs(endpoint, append([]*reader{batch}, all...)); err != nil {
		return submittedBatch{}, err
	}
	read := submittedBatch{members: make([]lifecycle.Submission, len(requests))}
	for i, r := range requests {
		read.members[i] = r.sub
	}
	if then != nil {
		read.then = &then.sub
	}
	err = batch.name()
	read.sub = batch.sub
	return read, err
}

// submittedBatch is what the body of a batch says.
type submittedBatch struct {
	sub     lifecycle.Submission
	members []lifecycle.Submission
	then    *lifecycle.Submission // nil: nothing follows
}

// oneOf reads a field of a batch that is one of some words; null: it is not given.
func (r *reader) oneOf(name string, raw json.RawMessage, words ...string) string {
	var text string
	switch {
	case string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &text) != nil:
		r.wrong("/"+name, "must be a string")
	case !slices.Contains(words, text):
		r.wrong("/"+name, "must be %s%s", strings.Join(words, " or "), suggest.Mean(text, words))
	}
	return text
}

// readThen reads the request that follows a batch, as the body of a submission, but that its
// content may be missing, and its id is not the client's. nil: nothing follows.
func (r *reader) readThen(raw json.RawMessage, requests []*reader) *reader {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	then := &reader{limits: r.limits, routes: r.routes, at: "/then", bare: true}
	for _, one := range requests {
		then.told += len(one.errs)
	}
	then.readOne(raw)
	if then.sub.ID != "" {
		then.wrong("/id", "cannot be chosen: it is made with the batch, and told in its document")
	}
	return then
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
		one.readOne(body)
		told += len(one.errs)
		return true
	})
	return requests
}

// readOne reads a request of a batch, or the one that follows.
func (r *reader) readOne(body json.RawMessage) {
	switch err := r.object(body); {
	case err == nil:
		r.complete()
	case len(err.Errors) > 0: // an object that is none of ours
		r.wrong("", "%s", err.Errors[0].Detail)
	default:
		r.wrong("", "must be an object: a request with its content and options")
	}
}

// object reads the body of a request of a batch.
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

// fingerprintAll identifies a batch with all that it holds. What was submitted before there was
// more than requests stays the same.
func (r *reader) fingerprintAll(requests []*reader, then *reader) {
	var all strings.Builder
	for _, one := range requests {
		all.WriteString(one.sub.Fingerprint + "\n")
	}
	if r.sub.Batch.FailFast {
		all.WriteString("onFailure: cancel\n") // which no fingerprint is
	}
	if r.sub.Batch.Joined {
		all.WriteString("result: joined\n")
	}
	if then != nil {
		all.WriteString("then: " + then.sub.Fingerprint + "\n")
	}
	whole := r.sub
	whole.Content = lifecycle.Content{Type: "batch", Data: []byte(all.String())}
	r.sub.Fingerprint = fingerprint(&whole, r.webhook)
}

// makeOneOffs makes the endpoints that are named, the same one once.
func makeOneOffs(endpoint func(*oneOff) (*lifecycle.Webhook, error), all []*reader) error {
	made := make(map[[4]string]string)
	for _, r := range all {
		if r.webhook == nil {
			continue
		}
		which := [4]string{*r.webhook.URL, r.webhook.Secret, r.webhook.Type, r.webhook.Form}
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
