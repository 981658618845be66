package api

import (
	"errors"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// errNoChannel: a channel that the caller may not follow, or that is none.
var errNoChannel = errors.New("no such channel")

// requestEvents answers GET /v1/requests/{id}/events.
func (a *API) requestEvents(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	r, err := a.Service.Get(ctx, caller.Principal, named(c))
	if err != nil {
		return err
	}
	return a.events(c, caller, r.Channel(), &r)
}

// topicEvents answers GET /v1/topics/{topic}/events.
func (a *API) topicEvents(c *fiber.Ctx, caller auth.Caller) error {
	channel, err := lifecycle.ParseChannel("topic:"+param(c, "topic"), caller.Subject)
	if err != nil {
		return err
	}
	return a.events(c, caller, channel, nil)
}

// ownerEvents answers GET /v1/events.
func (a *API) ownerEvents(c *fiber.Ctx, caller auth.Caller) error {
	return a.events(c, caller, lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: caller.Subject}, nil)
}

// events answers with a channel's events as the client prefers: as a stream, or those
// that are stored. r is the request of a request's own channel.
func (a *API) events(c *fiber.Ctx, caller auth.Caller, channel lifecycle.Channel, r *lifecycle.Request) error {
	c.Vary(fiber.HeaderAccept)
	offers := []string{"text/event-stream", "application/json"}
	if c.Query("after") != "" { // who asks for what is stored, and takes anything, gets that
		offers = []string{"application/json", "text/event-stream"}
	}
	switch accepted(c.Request().Header.PeekAll(fiber.HeaderAccept), offers) {
	case "text/event-stream":
		return a.stream(c, caller, channel, r)
	case "application/json":
		return a.storedEvents(c, channel)
	default:
		return &problem{kind: kindNotAcceptable, detail: "Events come as text/event-stream or application/json."}
	}
}

// stream hands the connection to the hub.
func (a *API) stream(c *fiber.Ctx, caller auth.Caller, channel lifecycle.Channel, r *lifecycle.Request) error {
	after := readCursor(c)
	if r != nil && r.Status.Terminal() && after != nil && after.Offset == r.Sequence && (after.Epoch == "" || after.Epoch == r.Life) {
		// Nothing will follow: 204 tells an EventSource to stay away.
		return c.SendStatus(fiber.StatusNoContent)
	}
	header := make(http.Header)
	for key, value := range c.Response().Header.All() {
		switch name := string(key); name {
		case fiber.HeaderContentType, fiber.HeaderContentLength, fiber.HeaderServer, fiber.HeaderDate, fiber.HeaderConnection:
		default:
			header.Add(name, string(value))
		}
	}
	if c.Method() == http.MethodHead {
		c.Set(fiber.HeaderContentType, "text/event-stream")
		c.Set(fiber.HeaderCacheControl, "no-store")
		return c.SendStatus(fiber.StatusOK)
	}
	options := hub.StreamOptions{
		Header: header, After: after, Caller: caller.Subject, Pass: caller.Pass(), Plain: !c.Request().Header.IsHTTP11(),
	}
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, _ := takeOver(conn, false)
		a.Hub.ServeStream(raw, channelOf(channel), options)
	})
	return nil
}

// readCursor returns the offset after which the client wants to go on: the header of
// a reconnecting EventSource, else the query, because an EventSource cannot set a header
// at first. What is no offset was never given out: it counts as beyond the
// end, and the client is told of the loss in-band.
func readCursor(c *fiber.Ctx) *hub.Cursor {
	text, _, _ := cursorText(c)
	if text == "" {
		return nil
	}
	cursor, err := hub.ParseCursor(text)
	if err != nil {
		cursor.Offset = math.MaxUint64
	}
	return &cursor
}

// cursorText returns what the client says of where it wants to go on, a pointer to that, and
// what says it.
func cursorText(c *fiber.Ctx) (text, at, what string) {
	if text = strings.TrimSpace(c.Get("Last-Event-ID")); text != "" {
		return text, "", "Last-Event-ID"
	}
	for _, name := range []string{"lastEventId", "last_event_id", "after"} {
		if text = strings.TrimSpace(c.Query(name)); text != "" {
			return text, "?" + name, name
		}
	}
	return "", "", ""
}

// storedEvents answers with the stored events after an offset.
func (a *API) storedEvents(c *fiber.Ctx, channel lifecycle.Channel) error {
	var after uint64
	if text, at, what := cursorText(c); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return invalid(fieldError{at, what + " must be an offset"})
		}
	}
	limit := 1000
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > limit {
			return invalid(fieldError{"?limit", "must be a whole number from 1 to 1000"})
		}
		limit = n
	}
	ctx := a.storeContext()
	body := []byte(`{"events":[`)
	offset := after
	for n := 0; n < limit; {
		history, err := a.Source.Read(ctx, channel.Key(), offset, limit-n)
		if err != nil {
			return err
		}
		if n == 0 && len(history.Messages) == 0 {
			offset = history.Top
		}
		for _, m := range history.Messages {
			if n > 0 {
				body = append(body, ',')
			}
			body = append(body, m.Event...)
			offset = m.Offset
			n++
		}
		if len(history.Messages) == 0 || offset >= history.Top {
			break
		}
	}
	body = append(body, `],"offset":`...)
	body = append(strconv.AppendUint(body, offset, 10), '}')
	c.Set(fiber.HeaderCacheControl, "no-cache")
	return sendJSON(c, fiber.StatusOK, body)
}

// takeOver returns the connection beneath a hijacked one, without deadlines, and,
// if wanted, what was received behind the request: a client may speak
// before it has read our answer. A read whose deadline has passed returns just that.
func takeOver(conn net.Conn, drain bool) (net.Conn, []byte) {
	var read []byte
	if drain {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			read = append(read, buffer[:n]...)
			if err != nil {
				break
			}
		}
	}
	for under, ok := conn.(interface{ UnsafeConn() net.Conn }); ok; under, ok = conn.(interface{ UnsafeConn() net.Conn }) {
		conn = under.UnsafeConn()
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, read
}
