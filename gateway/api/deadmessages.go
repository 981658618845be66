package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
)

// DeadMessages are the messages that a broker has put aside: bad ones, which are no jobs, and jobs
// that have ended too many consumers. Routes are those of the gateway. Errors wrap
// lifecycle.ErrUnavailable.
type DeadMessages interface {
	// Count returns how many there are of each route.
	Count(ctx context.Context, routes []string) (map[string]int, error)
	// List returns the first of them, at most limit, and leaves them where they are.
	List(ctx context.Context, route string, limit int) ([]DeadMessage, error)
	// Redrive hands those that are jobs of requests which wait for them to the route's queue, and
	// returns how many that were. The others stay.
	Redrive(ctx context.Context, route string) (int, error)
	// Purge forgets all of a route, and returns how many that were.
	Purge(ctx context.Context, route string) (int, error)
}

// DeadMessage is one of [DeadMessages], as clients see it.
type DeadMessage struct {
	ID          string            `json:"id"`      // the message id, "" if it has none
	Reason      string            `json:"reason"`  // why it was put aside, in the broker's word
	Request     *string           `json:"request"` // that it is a job of; nil: it is no job
	Wrong       *string           `json:"wrong"`   // why it is no job; nil: it is one
	At          time.Time         `json:"-"`       // when it was put aside; zero: that is not known
	ContentType string            `json:"contentType"`
	Headers     map[string]string `json:"headers"`
	Size        int               `json:"size"` // bytes
	Body        string            `json:"body"` // its beginning, as text
}

// countMessages returns how many messages were put aside on each route of this gateway; none if its
// queue puts none aside.
func (a *API) countMessages(ctx context.Context) (map[string]int, error) {
	if a.DeadMessages == nil {
		return nil, nil
	}
	return a.DeadMessages.Count(ctx, a.Routes)
}

// deadMessageDocument is a message with the time as other documents have it.
type deadMessageDocument struct {
	DeadMessage
	At stamp `json:"at"`
}

// listMessages answers GET /v1/dead/{route}/messages.
func (a *API) listMessages(c *fiber.Ctx, _ auth.Caller) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	route, err := a.ownRoute(c)
	if err != nil {
		return err
	}
	document := struct {
		Count    int                   `json:"count"`
		Messages []deadMessageDocument `json:"messages"`
	}{Messages: []deadMessageDocument{}}
	if a.DeadMessages != nil {
		ctx := a.storeContext()
		counts, err := a.DeadMessages.Count(ctx, []string{route})
		if err != nil {
			return err
		}
		document.Count = counts[route]
		messages, err := a.DeadMessages.List(ctx, route, limit)
		if err != nil {
			return err
		}
		for _, m := range messages {
			document.Messages = append(document.Messages, deadMessageDocument{m, stamp{m.At}})
		}
		document.Count = max(document.Count, len(messages))
	}
	return send(c, fiber.StatusOK, document)
}

// redriveMessages answers POST /v1/dead/{route}/messages/redrive.
func (a *API) redriveMessages(c *fiber.Ctx, caller auth.Caller) error {
	return a.eachMessage(c, caller, "redriven", DeadMessages.Redrive)
}

// purgeMessages answers DELETE /v1/dead/{route}/messages.
func (a *API) purgeMessages(c *fiber.Ctx, caller auth.Caller) error {
	return a.eachMessage(c, caller, "purged", DeadMessages.Purge)
}

func (a *API) eachMessage(c *fiber.Ctx, caller auth.Caller, what string, do func(DeadMessages, context.Context, string) (int, error)) error {
	route, err := a.ownRoute(c)
	if err != nil {
		return err
	}
	n := 0
	if a.DeadMessages != nil {
		ctx, cancel := context.WithTimeout(context.Background(), deadTime)
		defer cancel()
		if n, err = do(a.DeadMessages, ctx, route); err != nil && n == 0 {
			return err
		}
		if err != nil {
			a.log.Warn("not all messages that were put aside could be dealt with", slog.String("route", route), slog.Any("error", err))
		}
		a.log.Info("messages that were put aside were dealt with", slog.String("done", what), slog.String("route", route), slog.Int("messages", n), slog.String("by", caller.Subject))
	}
	return send(c, fiber.StatusOK, map[string]int{what: n})
}
