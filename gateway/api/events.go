package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// errNoChannel: a channel that the caller may not follow, or that is none.
var errNoChannel = errors.New("no such channel")

// requestEvents answers GET /v1/requests/{id}/events.
func (a *API) requestEvents(c *fiber.Ctx, caller lifecycle.Principal) error {
	ctx := a.storeContext()
	r, err := a.Service.Get(ctx, caller, param(c, "id"))
	if err != nil {
		return err
	}
	return a.events(c, caller, r.Channel(), &r)
}

// topicEvents answers GET /v1/topics/{topic}/events.
func (a *API) topicEvents(c *fiber.Ctx, caller lifecycle.Principal) error {
	channel, err := lifecycle.ParseChannel("topic:"+param(c, "topic"), caller.Subject)
	if err != nil {
		return err
	}
	return a.events(c, caller, channel, nil)
}

// ownerEvents answers GET /v1/events.
func (a *API) ownerEvents(c *fiber.Ctx, caller lifecycle.Principal) error {
	return a.events(c, caller, lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: caller.Subject}, nil)
}

// events answers with a channel's events as the client prefers: as a stream, or those
// that are stored. r is the request of a request's own channel.
func (a *API) events(c *fiber.Ctx, caller lifecycle.Principal, channel lifecycle.Channel, r *lifecycle.Request) error {
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
func (a *API) stream(c *fiber.Ctx, caller lifecycle.Principal, channel lifecycle.Channel, r *lifecycle.Request) error {
	after := readCursor(c)
	if r != nil && r.Status.Terminal() && after != nil && *after == r.Sequence {
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
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, _ := takeOver(conn, false)
		a.Hub.ServeStream(raw, channelOf(channel), hub.StreamOptions{Header: header, After: after, Caller: caller.Subject})
	})
	return nil
}

// readCursor returns the offset after which the client wants to go on: the header of
// a reconnecting EventSource, else the query, because an EventSource cannot set a header
// at first. What is no offset was never given out: it counts as beyond the
// end, and the client is told of the loss in-band.
func readCursor(c *fiber.Ctx) *uint64 {
	text, _, _ := cursorText(c)
	if text == "" {
		return nil
	}
	offset, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		offset = ^uint64(0)
	}
	return &offset
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

// socket answers GET /v1/ws by handing the connection to the hub.
func (a *API) socket(c *fiber.Ctx, caller lifecycle.Principal) error {
	if !c.Context().Request.Header.ConnectionUpgrade() || !strings.EqualFold(c.Get(fiber.HeaderUpgrade), "websocket") {
		c.Set(fiber.HeaderConnection, "Upgrade")
		c.Set(fiber.HeaderUpgrade, "websocket")
		return &problem{kind: kindUpgrade, detail: "Connect with a WebSocket client."}
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(c.Get("Sec-WebSocket-Key")))
	if c.Get("Sec-WebSocket-Version") != "13" || err != nil || len(key) != 16 {
		c.Set("Sec-WebSocket-Version", "13")
		return &problem{kind: kindMalformed, detail: "The handshake is not that of RFC 6455, version 13."}
	}
	subscribe, err := readSubscriptions(c)
	if err != nil {
		return err
	}
	request := handshakeRequest(c)
	options := hub.SocketOptions{
		Origins:   a.Origins,
		Session:   &session{api: a, caller: caller},
		Subscribe: subscribe,
		Caller:    caller.Subject,
	}
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, read := takeOver(conn, true)
		a.Hub.ServeSocket(raw, read, request, options)
	})
	return nil
}

// readSubscriptions reads ?channel=…&after=…; several are paired in order.
func readSubscriptions(c *fiber.Ctx) ([]hub.Subscribe, error) {
	var subscribe []hub.Subscribe
	args := c.Context().QueryArgs()
	afters := args.PeekMulti("after")
	for i, name := range args.PeekMulti("channel") {
		want := hub.Subscribe{Channel: string(name)}
		if i < len(afters) && len(afters[i]) > 0 {
			offset, err := strconv.ParseUint(string(afters[i]), 10, 64)
			if err != nil {
				return nil, invalid(fieldError{"?after", "must be an offset"})
			}
			want.After = &offset
		}
		subscribe = append(subscribe, want)
	}
	return subscribe, nil
}

// session is what a caller may do on a WebSocket. It implements [hub.Session].
type session struct {
	api    *API
	caller lifecycle.Principal
}

// Problem implements [hub.Session].
func (s *session) Problem(err error) []byte { return s.api.asProblem(err).body("") }

// Authenticate implements [hub.Session].
func (s *session) Authenticate(string) (hub.Proof, error) { return hub.Proof{}, hub.ErrNoTokens }

// Resolve implements [hub.Session].
func (s *session) Resolve(ctx context.Context, name string) (hub.Channel, error) {
	channel, err := lifecycle.ParseChannel(name, s.caller.Subject)
	if err != nil {
		return hub.Channel{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := s.api.Service.MayRead(ctx, s.caller, channel); err != nil {
		if errors.Is(err, lifecycle.ErrNotFound) && channel.Kind != lifecycle.RequestChannel {
			err = errNoChannel
		}
		return hub.Channel{}, err
	}
	return channelOf(channel), nil
}

// handshakeRequest copies what a WebSocket handshake needs out of a request that is
// reused when the handler returns.
func handshakeRequest(c *fiber.Ctx) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: string(c.Request().Host()), Header: make(http.Header),
	}
	for _, name := range []string{"Connection", "Upgrade", "Origin", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"} {
		for _, value := range c.Request().Header.PeekAll(name) {
			r.Header.Add(name, string(value))
		}
	}
	return r
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
	if under, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
		conn = under.UnsafeConn()
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, read
}
