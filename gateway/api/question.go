package api

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/jsonobject"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

const wantsQuestion = "must be the name of a question: 1 to 64 of the characters A-Z a-z 0-9 . _ -"

// askWork answers PUT /v1/work/{id}/question.
func (a *API) askWork(c *fiber.Ctx, caller auth.Caller) error {
	var body struct {
		Name    *string         `json:"name"`
		Message *string         `json:"message"`
		Schema  json.RawMessage `json:"schema"`
		Default json.RawMessage `json:"default"`
		Timeout *string         `json:"timeout"`
		Attempt *field.Integer  `json:"attempt"`
		Life    *string         `json:"life"`
	}
	if err := readReport(c, a.maxDocument(), &body, nil); err != nil {
		return err
	}
	var errs []problem.FieldError
	change := lifecycle.Ask{Question: lifecycle.Question{Name: lifecycle.DefaultQuestion, Schema: body.Schema, Default: body.Default}}
	if body.Name != nil {
		if change.Question.Name = *body.Name; !lifecycle.ValidQuestion(*body.Name) {
			errs = append(errs, problem.At("/name", wantsQuestion))
		}
	}
	if body.Message == nil || *body.Message == "" {
		errs = append(errs, problem.At("/message", "is required: what is asked, for the user"))
	} else {
		change.Question.Message = *body.Message
	}
	tooLong(&errs, "/message", body.Message, 2000)
	if body.Schema != nil && body.Schema[0] != '{' {
		errs = append(errs, problem.At("/schema", "must be a JSON object: a JSON Schema of the answer"))
	}
	if body.Timeout != nil {
		change.Timeout = readDuration("/timeout", *body.Timeout, a.Service.Limits().MaxTimeout, &errs)
	}
	change.Attempt = readAttempt(c, body.Attempt, &errs)
	life := readLife(c, body.Life, &errs)
	if len(errs) == 0 {
		if err := change.Question.Valid(); err != nil { // no other reason is left
			errs = append(errs, problem.At("", fmt.Sprintf("must have at most %d KiB in message, schema and default together", lifecycle.MaxQuestion>>10)))
		}
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return a.answerReport(c, caller, life, change)
}

// input answers POST /v1/requests/{id}/input.
func (a *API) input(c *fiber.Ctx, caller auth.Caller) error {
	data, err := httpbody.ReadJSON(c, a.maxDocument(), "An answer is application/json.")
	if err != nil {
		return err
	}
	fields, errs, err := jsonobject.Read(data, "", "answer")
	if err != nil {
		return err
	}
	var answer json.RawMessage
	question := ""
	for name, raw := range jsonobject.InOrder(fields) {
		switch name {
		case "answer":
			answer = raw
		case "question":
			if json.Unmarshal(raw, &question) != nil || !lifecycle.ValidQuestion(question) {
				errs = append(errs, problem.At("/question", wantsQuestion))
			}
		default:
			errs = append(errs, problem.At("/"+strictjson.Escape(name), "is not a field of an answer"+suggest.Mean(name, []string{"answer", "question"})))
		}
	}
	switch {
	case answer == nil:
		errs = append(errs, problem.At("/answer", "is required: any JSON"))
	case len(answer) > lifecycle.MaxAnswer:
		errs = append(errs, problem.At("/answer", "must have at most "+strconv.Itoa(lifecycle.MaxAnswer>>10)+" KiB"))
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs[:min(len(errs), problem.MaxErrors)]...)
	}
	defer httpbody.Storing(c)()
	r, err := a.Service.Answer(a.storeContext(), caller.Principal, named(c), question, answer)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderRetryAfter, a.retryAfter(&r))
	return httpbody.SendJSON(c, fiber.StatusOK, wire.AppendDocument(nil, &r, view(caller)))
}
