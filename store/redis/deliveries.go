package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// How the state of a delivery is stored.
var (
	stateLetters = map[dispatch.State]string{
		dispatch.Waiting: "w", dispatch.Sending: "s", dispatch.Delivered: "d", dispatch.Dead: "x", dispatch.Superseded: "p",
	}
	statesByLetter = map[string]dispatch.State{
		"w": dispatch.Waiting, "s": dispatch.Sending, "d": dispatch.Delivered, "x": dispatch.Dead, "p": dispatch.Superseded,
	}
)

// enqueueBatch is how many deliveries are made in one step.
const enqueueBatch = 100

// Enqueue implements dispatch.Deliveries.
func (s *Store) Enqueue(ctx context.Context, owner, endpoint string, messages []dispatch.Message) (int, error) {
	made := 0
	for first := true; first || len(messages) > 0; first = false {
		n := min(len(messages), enqueueBatch)
		args := append(make([]any, 0, 5+4*n), s.ahead.Load(), s.publish, newToken(), owner, endpoint)
		for _, m := range messages[:n] {
			args = append(args, m.ID, m.Lane, m.Type, m.Body)
		}
		answer, err := s.hook(ctx, hooks.enqueue, owner, args...)
		if err != nil {
			return made, err
		}
		count, err := answer.Number(1)
		if err != nil {
			return made, failed(ctx, err)
		}
		made, messages = made+int(count), messages[n:]
	}
	return made, nil
}

// ListDeliveries implements dispatch.Deliveries.
func (s *Store) ListDeliveries(ctx context.Context, owner, endpoint string, q dispatch.Query) (dispatch.Page, error) {
	scope, highest := owner+"\x00"+endpoint, "+inf"
	if q.Cursor != "" {
		p, ok := parseCursor(scope, q.Cursor)
		if !ok {
			return dispatch.Page{}, lifecycle.ErrCursor
		}
		highest = "(" + strconv.FormatInt(p.serial, 10)
	}
	state := stateLetters[q.State]
	if state == "" && q.State != "" {
		state = "-" // none has it
	}
	answer, err := s.hook(ctx, hooks.deliveries, owner, s.ahead.Load(), owner, endpoint, highest, state, q.Type, max(q.Limit, 1), maxScanned)
	if err != nil {
		return dispatch.Page{}, err
	}
	n, err := answer.Numbers(1, 2)
	if err != nil {
		return dispatch.Page{}, failed(ctx, err)
	}
	var page dispatch.Page
	if last, more := n[0], n[1]; more == 1 {
		page.Next = formatCursor(scope, place{serial: last})
	}
	for i := range answer.List(3) {
		d, err := decodeDelivery(answer.List(3).List(i))
		if err != nil {
			return dispatch.Page{}, failed(ctx, err)
		}
		page.Deliveries = append(page.Deliveries, d)
	}
	return page, nil
}

// decodeDelivery reads what shown in deliveries.lua answers.
func decodeDelivery(row link.Answer) (dispatch.Delivery, error) {
	n, err := row.Numbers(4, 3)
	if err != nil {
		return dispatch.Delivery{}, err
	}
	d := dispatch.Delivery{
		ID: row.Text(0), State: statesByLetter[row.Text(1)], Lane: row.Text(2), Type: row.Text(3),
		Attempts: int(n[0]), CreatedAt: at(n[2]),
	}
	if d.State == dispatch.Waiting {
		d.Due = at(n[1])
	}
	if row.Text(7) != "" {
		settled, err := row.Number(7)
		if err != nil {
			return dispatch.Delivery{}, err
		}
		d.SettledAt = at(settled)
	}
	return d, nil
}

// Delivery implements dispatch.Deliveries.
func (s *Store) Delivery(ctx context.Context, owner, endpoint, id string) (dispatch.Delivery, error) {
	answer, err := s.hook(ctx, hooks.delivery, owner, s.ahead.Load(), owner, endpoint, id)
	if err != nil {
		return dispatch.Delivery{}, err
	}
	d, err := decodeDelivery(answer.List(1))
	if err != nil {
		return dispatch.Delivery{}, failed(ctx, err)
	}
	if d.Event, err = messageOf(answer.Text(2)); err != nil {
		return dispatch.Delivery{}, s.damaged("", "the body of webhook message "+id, err)
	}
	for i := range answer.List(3) {
		a, err := decodeAttempt(answer.List(3).Text(i))
		if err != nil {
			return dispatch.Delivery{}, failed(ctx, err)
		}
		d.Log = append(d.Log, a)
	}
	return d, nil
}

// decodeAttempt reads an entry of the log: the time in µs, a space, JSON.
func decodeAttempt(entry string) (dispatch.Attempt, error) {
	var a dispatch.Attempt
	µs, record, _ := strings.Cut(entry, " ")
	n, err := strconv.ParseInt(µs, 10, 64)
	if err == nil {
		err = json.Unmarshal([]byte(record), &a)
	}
	if err != nil {
		return dispatch.Attempt{}, fmt.Errorf("log of a webhook delivery is damaged: %w", err)
	}
	a.At = at(n)
	return a, nil
}

// Resend implements dispatch.Deliveries.
func (s *Store) Resend(ctx context.Context, owner, endpoint, id string) error {
	_, err := s.hook(ctx, hooks.resend, owner, s.ahead.Load(), s.publish, owner, endpoint, id)
	return err
}
