package api

import (
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/webhook/dispatch"
)

// deliveryDocument is a delivery as clients see it.
type deliveryDocument struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Request   string            `json:"request,omitempty"`
	State     dispatch.State    `json:"state"`
	Attempts  int               `json:"attempts"`
	Due       stamp             `json:"due"` // of the next attempt
	CreatedAt stamp             `json:"createdAt"`
	SettledAt stamp             `json:"settledAt"`
	Event     json.RawMessage   `json:"event,omitempty"`
	Log       []attemptDocument `json:"log,omitempty"`
	Links     []link            `json:"links"`
}

type attemptDocument struct {
	At       stamp   `json:"at"`
	Latency  float64 `json:"latency"` // seconds
	Status   *int    `json:"status"`
	Error    *string `json:"error"`
	Response string  `json:"response"`
	Hint     string  `json:"hint,omitempty"`
}

func deliveryOf(endpoint string, d *dispatch.Delivery) deliveryDocument {
	self := "/v1/webhooks/" + endpoint + "/deliveries/" + d.ID
	out := deliveryDocument{
		ID: d.ID, Type: d.Type, State: d.State, Attempts: d.Attempts, CreatedAt: stamp{d.CreatedAt}, SettledAt: stamp{d.SettledAt},
		Links: []link{{"self", self, "GET"}, {"resend", self + "/resend", "POST"}},
	}
	if d.Event != nil {
		out.Event = wire.JSON(d.Event)
	}
	if d.Lane != d.ID { // else it is about the endpoint itself
		out.Request = dispatch.RequestOf(d.Lane)
	}
	if d.State == dispatch.Waiting {
		out.Due = stamp{d.Due}
	}
	for _, a := range d.Log {
		at := attemptDocument{At: stamp{a.At}, Latency: a.Latency.Seconds(), Response: printable(a.Response)}
		if a.Status != 0 {
			at.Status = &a.Status
		}
		if a.Class != "" {
			at.Error = &a.Class
		}
		if a.Sent != "" {
			at.Hint = "It was sent as " + a.Sent + ". Let the receiver take that, or set the endpoint's contentType to another one."
		}
		out.Log = append(out.Log, at)
	}
	return out
}

// printable is the beginning of a response as text; JSON holds nothing else.
func printable(b []byte) string {
	for !utf8.Valid(b) && len(b) > 0 && len(b) > utf8.UTFMax {
		if r, size := utf8.DecodeLastRune(b); r == utf8.RuneError && size == 1 {
			b = b[:len(b)-1] // cut in the middle of a character
			continue
		}
		break
	}
	return string([]rune(string(b)))
}

// listDeliveries answers GET /v1/webhooks/{id}/deliveries.
func (a *API) listDeliveries(c *fiber.Ctx, caller auth.Caller) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	q := dispatch.Query{State: dispatch.State(query(c, "state")), Type: query(c, "type"), Cursor: query(c, "cursor"), Limit: limit}
	switch q.State {
	case "", dispatch.Waiting, dispatch.Sending, dispatch.Delivered, dispatch.Dead, dispatch.Superseded:
	default:
		return problem.InvalidFields(problem.At("?state", "must be one of waiting, sending, delivered, dead, superseded"))
	}
	if q.Type != "" && !dispatch.ValidType(q.Type) {
		return problem.InvalidFields(problem.At("?type", "is not the type of an event that is delivered"))
	}
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	found, err := a.Webhooks.ListDeliveries(a.storeContext(), owner, id, q)
	if err != nil {
		return err
	}
	page := struct {
		Deliveries []deliveryDocument `json:"deliveries"`
		Next       *string            `json:"next"`
	}{Deliveries: make([]deliveryDocument, len(found.Deliveries))}
	for i := range found.Deliveries {
		page.Deliveries[i] = deliveryOf(id, &found.Deliveries[i])
	}
	if found.Next != "" {
		page.Next = &found.Next
	}
	return send(c, fiber.StatusOK, page)
}

// getDelivery answers GET /v1/webhooks/{id}/deliveries/{message}.
func (a *API) getDelivery(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	d, err := a.Webhooks.Delivery(a.storeContext(), owner, id, param(c, "message"))
	if err != nil {
		return err
	}
	return send(c, fiber.StatusOK, deliveryOf(id, &d))
}

// resendDelivery answers POST /v1/webhooks/{id}/deliveries/{message}/resend.
func (a *API) resendDelivery(c *fiber.Ctx, caller auth.Caller) error {
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	ctx, message := a.storeContext(), param(c, "message")
	err = a.Webhooks.Resend(ctx, owner, id, message)
	if errors.Is(err, dispatch.ErrConflict) {
		return &problem.Details{Kind: problem.WebhookState, Detail: "The delivery is being sent. Try again when this attempt is over, at the latest after the endpoint's timeout.", RetryAfter: 1}
	}
	if err != nil {
		return err
	}
	d, err := a.Webhooks.Delivery(ctx, owner, id, message)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusAccepted, deliveryOf(id, &d))
}

// recoverDeliveries answers POST /v1/webhooks/{id}/recover?since=.
func (a *API) recoverDeliveries(c *fiber.Ctx, caller auth.Caller) error {
	since, err := time.Parse(time.RFC3339, query(c, "since"))
	if err != nil {
		return problem.InvalidFields(problem.At("?since", "must be a time like 2026-01-01T00:00:00Z (RFC 3339)"))
	}
	owner, id, err := a.ownerOf(c, caller)
	if err != nil {
		return err
	}
	ctx, cancel := challengeContext()
	defer cancel()
	n, err := a.Webhooks.Recover(ctx, owner, id, since)
	if err != nil {
		return err
	}
	return send(c, fiber.StatusAccepted, map[string]int{"recovered": n})
}
