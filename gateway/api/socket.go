package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// socket answers GET /v1/ws by handing the connection to the hub.
func (a *API) socket(c *fiber.Ctx, _ auth.Caller) error {
	if !c.Context().Request.Header.ConnectionUpgrade() || !strings.EqualFold(c.Get(fiber.HeaderUpgrade), "websocket") {
		c.Set(fiber.HeaderConnection, "Upgrade")
		c.Set(fiber.HeaderUpgrade, "websocket")
		return &problem.Details{Kind: problem.Upgrade, Detail: "Connect with a WebSocket client."}
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(c.Get("Sec-WebSocket-Key")))
	if c.Get("Sec-WebSocket-Version") != "13" || err != nil || len(key) != 16 {
		c.Set("Sec-WebSocket-Version", "13")
		return &problem.Details{Kind: problem.Malformed, Detail: "The handshake is not that of RFC 6455, version 13."}
	}
	if httpbody.Pending(c) { // it would stand in front of the client's first frame
		return &problem.Details{Kind: problem.Malformed, Detail: "A WebSocket handshake has no body."}
	}
	subscribe, err := readSubscriptions(c)
	if err != nil {
		return err
	}
	thin, err := wantsThin(c)
	if err != nil {
		return err
	}
	request := handshakeRequest(c)
	options := hub.SocketOptions{Origins: a.Origins, Address: a.client(c), Thin: thin}
	caller, err := a.connecting(c, subscribe)
	if err == nil {
		err = may(caller, lifecycle.RoleClient)
	}
	switch {
	case err == nil:
		options.Session, options.Subscribe = &session{api: a, caller: caller}, subscribe
		options.Caller, options.Credential = caller.Subject, caller.Credential()
	case errors.Is(err, auth.ErrNoToken): // it may send one by its first message
		options.Session, options.Unproven = &session{api: a, unproven: true, first: subscribe}, true
	default:
		refused := inProtocol(err)
		if refused == nil || !hub.Offers(request.Header) {
			return a.challenge(c, err)
		}
		options.Session, options.Refused = &session{api: a}, refused
	}
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, read := takeOver(conn, true)
		a.Hub.ServeSocket(raw, read, request, options)
	})
	return nil
}

// inProtocol returns an error of who may not connect as the hub's protocol tells it, nil if it has
// no words for it.
func inProtocol(err error) error {
	p, _ := errors.AsType[*problem.Details](err)
	switch {
	case errors.Is(err, auth.ErrExpired):
		return fmt.Errorf("%w: %w", hub.ErrExpired, err)
	case errors.Is(err, auth.ErrUnauthenticated):
		return fmt.Errorf("%w: %w", hub.ErrUnproven, err)
	case p != nil && p.Kind.Name == problem.Forbidden.Name:
		return fmt.Errorf("%w: %w", hub.ErrForbidden, err)
	}
	return nil
}

// readSubscriptions reads ?channel=…&after=…; several are paired in order.
func readSubscriptions(c *fiber.Ctx) ([]hub.Subscribe, error) {
	var subscribe []hub.Subscribe
	args := c.Context().QueryArgs()
	afters := args.PeekMulti("after")
	for _, text := range afters { // also one that no channel stands in front of
		if _, err := hub.ParseCursor(string(text)); len(text) > 0 && err != nil {
			return nil, problem.InvalidFields(problem.At("?after", "must be an offset"))
		}
	}
	for i, name := range args.PeekMulti("channel") {
		want := hub.Subscribe{Channel: string(name)}
		if i < len(afters) && len(afters[i]) > 0 {
			after, err := hub.ParseCursor(string(afters[i]))
			if err != nil {
				return nil, problem.InvalidFields(problem.At("?after", "must be an offset"))
			}
			want.After = &after
		}
		subscribe = append(subscribe, want)
	}
	return subscribe, nil
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

// bearerProtocol begins an entry of the list of subprotocols that is a token: the only place where
// the WebSocket of a browser lets one put it.
const bearerProtocol = "bearer."

// connecting tells who opens a WebSocket: by the Authorization, a ticket, or a token in the list of
// subprotocols, where one that is taken may also stand by itself; what else stands there is the
// name of a protocol. subscribe is what the URL asks for: who wants a request's channel after an
// offset goes on with following it.
func (a *API) connecting(c *fiber.Ctx, subscribe []hub.Subscribe) (auth.Caller, error) {
	if c.Get(fiber.HeaderAuthorization) != "" || c.Query("ticket") != "" || a.Guard.Open() {
		return a.followerWho(c, func(request string) bool {
			channel := lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: request}.String()
			return slices.ContainsFunc(subscribe, func(s hub.Subscribe) bool { return s.Channel == channel && s.After != nil })
		})
	}
	for _, field := range c.Request().Header.PeekAll("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(string(field), ",") {
			name = strings.TrimSpace(name)
			if token, ok := strings.CutPrefix(name, bearerProtocol); ok {
				return a.Guard.Token(token)
			}
			if name == hub.Subprotocol {
				continue
			}
			if caller, err := a.Guard.Token(name); err == nil {
				return caller, nil
			}
		}
	}
	return auth.Caller{}, auth.ErrNoToken
}

// session is what a caller may do on a WebSocket. It implements [hub.Session].
type session struct {
	api      *API
	caller   auth.Caller
	unproven bool            // nobody knows who it is yet
	first    []hub.Subscribe // to make when it is known
}

// Problem implements [hub.Session].
func (s *session) Problem(err error) []byte {
	p := s.api.asProblem(err)
	s.api.tell(err, p)
	return p.JSON("")
}

// Authenticate implements [hub.Session]. A newer token must be of the same subject: what is
// subscribed to is that one's.
func (s *session) Authenticate(token string) (hub.Identity, error) {
	if s.api.Guard.Open() {
		return hub.Identity{}, hub.ErrNoTokens
	}
	caller, err := s.api.Guard.Token(token)
	if err == nil {
		err = may(caller, lifecycle.RoleClient)
	}
	if err == nil && !s.unproven && caller.Subject != s.caller.Subject {
		err = &problem.Details{Kind: problem.Forbidden, Detail: "The token is that of another caller."}
	}
	if err != nil {
		if refused := inProtocol(err); refused != nil {
			err = refused
		}
		return hub.Identity{}, err
	}
	return hub.Identity{Session: &session{api: s.api, caller: caller}, Caller: caller.Subject, Credential: caller.Credential(), Subscribe: s.first}, nil
}

// Resolve implements [hub.Session].
func (s *session) Resolve(ctx context.Context, name string) (hub.Channel, error) {
	channel, err := lifecycle.ParseChannel(name, s.caller.Subject)
	if err != nil {
		return hub.Channel{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if channel, err = s.api.Service.Follow(ctx, s.caller.Principal, channel); err != nil {
		if errors.Is(err, lifecycle.ErrNotFound) && !strings.HasPrefix(name, string(lifecycle.RequestChannel)+":") {
			err = errNoChannel
		}
		return hub.Channel{}, err
	}
	return ChannelOf(channel), nil
}
