package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/intake"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// errNoChannel: a channel that the caller may not follow, or that is none.
var errNoChannel = errors.New("no such channel")

// of returns a handler that answers with a channel. find returns the channel that a call names, and
// the request if it is that of one.
func of(find func(*fiber.Ctx, auth.Caller) (lifecycle.Channel, *lifecycle.Request, error),
	answer func(*fiber.Ctx, auth.Caller, lifecycle.Channel, *lifecycle.Request) error,
) handler {
	return func(c *fiber.Ctx, caller auth.Caller) error {
		channel, r, err := find(c, caller)
		if err != nil {
			return err
		}
		return answer(c, caller, channel, r)
	}
}

// requestChannel is the channel of /v1/requests/{id}/….
func (a *API) requestChannel(c *fiber.Ctx, caller auth.Caller) (lifecycle.Channel, *lifecycle.Request, error) {
	r, err := a.Service.Get(a.storeContext(), caller.Principal, named(c))
	return r.Channel(), &r, err
}

// topicChannel is the channel of /v1/topics/{topic}/….
func topicChannel(c *fiber.Ctx, caller auth.Caller) (lifecycle.Channel, *lifecycle.Request, error) {
	channel, err := lifecycle.ParseChannel("topic:"+param(c, "topic"), caller.Subject)
	return channel, nil, err
}

// ownerChannel is the channel of /v1/…. There is none of everybody's: to number all events in one
// order each would have to be stored once more.
func (a *API) ownerChannel(c *fiber.Ctx, caller auth.Caller) (lifecycle.Channel, *lifecycle.Request, error) {
	owner, err := a.ownerOption(c, caller)
	if err == nil && owner == everybody {
		err = problem.InvalidFields(problem.At("?owner", "names one caller: there is no feed of everybody's. GET /v1/requests?owner=*&since=… lists everybody's requests, "+
			"and the callback exchange of RabbitMQ has every event"))
	}
	return lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: owner}, nil, err
}

// events answers with a channel's events as the client prefers: as a stream, or those
// that are stored. r is the request of a request's own channel.
func (a *API) events(c *fiber.Ctx, caller auth.Caller, channel lifecycle.Channel, r *lifecycle.Request) error {
	c.Vary(fiber.HeaderAccept)
	offers := []string{"text/event-stream", "application/json"}
	if c.Query("after") != "" { // who asks for what is stored, and takes anything, gets that
		offers = []string{"application/json", "text/event-stream"}
	}
	switch field.Accepted(c.Request().Header.PeekAll(fiber.HeaderAccept), offers) {
	case "text/event-stream":
		return a.stream(c, caller, channel, r)
	case "application/json":
		return a.history(c, caller, channel, r)
	default:
		return &problem.Details{Kind: problem.NotAcceptable, Detail: "Events come as text/event-stream or application/json."}
	}
}

// stream hands the connection to the hub.
func (a *API) stream(c *fiber.Ctx, caller auth.Caller, channel lifecycle.Channel, r *lifecycle.Request) error {
	heartbeats, err := wantsHeartbeats(c)
	if err != nil {
		return err
	}
	thin, err := wantsThin(c)
	if err != nil {
		return err
	}
	after := readCursor(c)
	if r != nil && r.Status.Terminal() && after != nil && after.Offset == r.Sequence && (after.Epoch == "" || after.Epoch == r.Life) {
		// Nothing will follow: 204 tells an EventSource to stay away.
		return c.SendStatus(fiber.StatusNoContent)
	}
	header := answerFields(c)
	transport := hub.SSE(c.Request().Header.IsHTTP11(), thin) // of which HTTP/1.0 has no chunks
	if c.Method() == http.MethodHead {
		return headOfStream(c, transport)
	}
	options := hub.StreamOptions{
		Header: header, After: after, Caller: caller.Subject, Address: a.client(c), Credential: caller.Credential(), Transport: transport,
		Heartbeats: heartbeats,
	}
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, _ := takeOver(conn, false)
		a.Hub.ServeStream(raw, ChannelOf(channel), options)
	})
	return nil
}

// answerFields returns the fields that were set for the answer to a call, as the hub is to send
// them.
func answerFields(c *fiber.Ctx) http.Header {
	header := make(http.Header)
	for key, value := range c.Response().Header.All() {
		switch name := string(key); name {
		case fiber.HeaderContentType, fiber.HeaderContentLength, fiber.HeaderServer, fiber.HeaderDate, fiber.HeaderConnection:
		default:
			header.Add(name, string(value))
		}
	}
	return header
}

// wantsHeartbeats reads ?heartbeat=, which says how a stream shows that it lives.
func wantsHeartbeats(c *fiber.Ctx) (bool, error) {
	switch c.Query("heartbeat") {
	case "", "comment":
		return false, nil
	case "event":
		return true, nil
	}
	return false, problem.InvalidFields(problem.At("?heartbeat", "must be comment or event"))
}

// wantsThin reads ?form=, which says how much events say.
func wantsThin(c *fiber.Ctx) (bool, error) {
	switch text := c.Query("form"); text {
	case "", hub.FormFull:
		return false, nil
	case hub.FormThin:
		return true, nil
	default:
		return false, problem.InvalidFields(problem.At("?form", wrongForm(text)))
	}
}

// wrongForm is what is wrong with the name of a form that there is not.
func wrongForm(got string) string {
	return "must be full or thin" + suggest.Mean(got, []string{hub.FormFull, hub.FormThin})
}

// headOfStream answers HEAD with the fields that the hub's answer to GET has (RFC 9110, section
// 9.3.2), and no length: nobody knows it.
func headOfStream(c *fiber.Ctx, transport hub.StreamTransport) error {
	for name, values := range hub.StreamHeader(transport) {
		c.Set(name, values[0])
	}
	length := -1 // chunked, in terms of fasthttp
	if !c.Request().Header.IsHTTP11() {
		length = -2 // until the connection closes
	}
	c.Response().Header.SetContentLength(length)
	c.Response().SetConnectionClose()
	return nil // an empty body, so that fasthttp leaves the length as it is
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
		cursor.Offset = hub.BeyondAll
	}
	return &cursor
}

// cursorText returns what the client says of where it wants to go on, a pointer to that, and
// what says it.
func cursorText(c *fiber.Ctx) (text, at, what string) {
	if text = strings.TrimSpace(c.Get("Last-Event-ID")); text != "" {
		return text, "Last-Event-ID", "Last-Event-ID"
	}
	for _, name := range []string{"lastEventId", "last_event_id", "after"} {
		if text = strings.TrimSpace(c.Query(name)); text != "" {
			return text, "?" + name, name
		}
	}
	return "", "", ""
}

// maxHistory is how many events an answer holds at most.
const maxHistory = 1000

// history answers with the stored events after an offset, as JSON, and says whether that is all
// that there was.
func (a *API) history(c *fiber.Ctx, _ auth.Caller, channel lifecycle.Channel, _ *lifecycle.Request) error {
	var after hub.Cursor
	if text, at, what := cursorText(c); text != "" {
		var err error
		if after, err = hub.ParseCursor(text); err != nil {
			return problem.InvalidFields(problem.At(at, what+" must be an offset"))
		}
	}
	// The cursor is of another life: all of this one is new.
	elsewhere := after.Epoch != "" && after.Epoch != channel.Life
	if elsewhere {
		after.Offset = 0
	}
	limit := maxHistory
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > limit {
			return problem.InvalidFields(problem.At("?limit", "must be a whole number from 1 to "+strconv.Itoa(maxHistory)))
		}
		limit = n
	}
	thin, err := wantsThin(c)
	if err != nil {
		return err
	}
	events := &history{
		api: a, channel: channel, limit: limit, next: firstEvents, thin: thin,
		offset: after.Offset, recovered: true, elsewhere: elsewhere,
	}
	if err := events.fill(); err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-cache")
	if events.ended {
		return httpbody.SendJSON(c, fiber.StatusOK, events.made)
	}
	if !c.Request().Header.IsHTTP11() { // which has no chunks, so that its length must be known
		body, err := io.ReadAll(events)
		if err != nil {
			return err
		}
		return httpbody.SendJSON(c, fiber.StatusOK, body)
	}
	c.Set(fiber.HeaderContentType, "application/json")
	if c.Method() == fiber.MethodHead { // to which a stream would write the end of its chunks
		c.Response().Header.SetContentLength(-1)
		return nil
	}
	c.Context().Response.SetBodyStream(events, -1)
	return nil
}

// oldest returns the offset of the first event that a channel still has, or of the next one if it
// has none.
func (a *API) oldest(ctx context.Context, key string, top uint64) (uint64, error) {
	page, err := a.Source.Read(ctx, key, 0, 1)
	if err != nil || len(page.Messages) == 0 {
		return top + 1, err
	}
	return page.Messages[0].Offset, nil
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
	intake.Of(conn).Release() // the hub counts it
	for under, ok := conn.(interface{ UnsafeConn() net.Conn }); ok; under, ok = conn.(interface{ UnsafeConn() net.Conn }) {
		conn = under.UnsafeConn()
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, read
}
