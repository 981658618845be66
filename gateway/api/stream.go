package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/durable"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/stream"
)

// routeStreams is the table of the streams of a caller's own, which speak Durable Streams (see
// package durable). That has clients send options that are not of the protocol, for whoever stands
// in between.
func (a *API) routeStreams(client func(handler) fiber.Handler) {
	streams := func(h handler) fiber.Handler {
		next := client(h)
		return func(c *fiber.Ctx) error {
			// Anybody can put there what a browser would take for a page (PROTOCOL.md, section
			// 12.7).
			c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
			c.Set("Cross-Origin-Resource-Policy", "same-origin")
			return next(c)
		}
	}
	named := func(h func(*fiber.Ctx, auth.Caller, stream.Name) error) handler {
		return func(c *fiber.Ctx, caller auth.Caller) error {
			path, ok := durable.Path(strings.Clone(c.Params("*")))
			if !ok {
				return problem.MalformedAt("{path}", "must be 1 to "+strconv.Itoa(stream.MaxPath)+
					" bytes of UTF-8 without control characters, in segments of which none is empty, . or ..")
			}
			return h(c, caller, stream.Name{Owner: caller.Subject, Path: path})
		}
	}
	const path = "/v1/stream/*"
	a.handle("PUT", path, streams, named(a.createStream), anyOption)
	a.handle("POST", path, streams, named(a.appendStream), anyOption)
	a.handle("GET", path, streams, named(a.readStream), anyOption)
	a.handle("DELETE", path, streams, named(a.deleteStream), anyOption)
}

// fields reads the header of a call.
func fields(c *fiber.Ctx) durable.Header {
	return func(name string) (string, bool) {
		value := c.Request().Header.Peek(name)
		return string(value), value != nil
	}
}

// setter sets fields of the answer.
func setter(c *fiber.Ctx) func(name, value string) {
	return func(name, value string) { c.Set(name, value) }
}

// streamType returns the media type of a body for a stream, "" if the call names none.
func streamType(c *fiber.Ctx) (string, error) {
	if c.Get(fiber.HeaderContentType) == "" && c.Get(fiber.HeaderContentEncoding) == "" {
		return "", nil
	}
	return httpbody.MediaType(c)
}

// quota is what a stream, and its owner, may take.
func (a *API) quota() stream.Quota {
	return stream.Quota{Size: a.MaxOutput, Stored: a.Service.Limits().Quota.Bytes}
}

// createStream answers PUT (PROTOCOL.md, section 5.1).
func (a *API) createStream(c *fiber.Ctx, caller auth.Caller, name stream.Name) error {
	create, err := durable.Create(fields(c))
	if err != nil {
		return err
	}
	if create.Fork != nil {
		create.Fork.From.Owner = caller.Subject
	}
	if create.Type, err = streamType(c); err != nil {
		return err
	}
	if create.Body, err = httpbody.Read(c, a.MaxChunk); err != nil {
		return err
	}
	create.Quota = a.quota()
	var s stream.Stream
	var made bool
	err = a.hold(true, func(ctx context.Context) (err error) {
		s, made, err = a.Streams.CreateStream(ctx, name, create)
		return err
	})
	if err != nil {
		return a.ofStream(c, err)
	}
	c.Set(fiber.HeaderContentType, s.Type)
	durable.Describe(&s, setter(c))
	if !made {
		return c.SendStatus(fiber.StatusOK)
	}
	c.Set(fiber.HeaderLocation, a.address(c, string(c.Request().URI().PathOriginal())))
	c.Status(fiber.StatusCreated)
	return nil
}

// appendStream answers POST (PROTOCOL.md, sections 5.2 and 5.3).
func (a *API) appendStream(c *fiber.Ctx, _ auth.Caller, name stream.Name) error {
	appended, err := durable.Append(fields(c))
	if err != nil {
		return err
	}
	if httpbody.Announced(c) {
		if appended.Type, err = streamType(c); err != nil {
			return err
		}
	}
	if appended.Body, err = httpbody.Read(c, a.MaxChunk); err != nil {
		return err
	}
	if len(appended.Body) > 0 && appended.Type == "" {
		return problem.MalformedAt(fiber.HeaderContentType, "is missing: it has to be that of the stream")
	}
	appended.Quota = a.quota()
	var added stream.Appended
	tried := 0
	err = a.hold(appended.Producer != nil || len(appended.Body) == 0, func(ctx context.Context) (err error) {
		tried++
		added, err = a.Streams.AppendStream(ctx, name, appended)
		return err
	})
	if err != nil {
		return a.ofStream(c, err)
	}
	s := &added.Stream
	c.Set(durable.FieldNextOffset, s.Offset(s.Tail))
	if s.Closed {
		c.Set(durable.FieldClosed, "true")
	}
	p := appended.Producer
	if p == nil {
		return c.SendStatus(fiber.StatusNoContent)
	}
	c.Set(durable.FieldEpoch, strconv.FormatInt(p.Epoch, 10))
	c.Set(durable.FieldProducerSeq, strconv.FormatInt(added.Seq, 10))
	if added.Repeated && tried == 1 || len(appended.Body) == 0 {
		return c.SendStatus(fiber.StatusNoContent)
	}
	c.Status(fiber.StatusOK) // also if it was a try of this call that had gone through
	return nil
}

// deleteStream answers DELETE (PROTOCOL.md, section 5.4).
func (a *API) deleteStream(c *fiber.Ctx, _ auth.Caller, name stream.Name) error {
	if err := a.Streams.DeleteStream(a.storeContext(), name); err != nil {
		return a.ofStream(c, err)
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// readStream answers GET and HEAD (PROTOCOL.md, sections 5.5 to 5.8).
func (a *API) readStream(c *fiber.Ctx, caller auth.Caller, name stream.Name) error {
	if c.Method() == fiber.MethodHead {
		return a.headOf(c, name)
	}
	read, err := durable.ParseRead(func(option string) (values []string) {
		for _, value := range c.Context().QueryArgs().PeekMulti(option) {
			values = append(values, string(value))
		}
		return values
	})
	if err != nil {
		return err
	}
	native := false
	if read.Live == durable.NotLive {
		c.Vary(fiber.HeaderAccept)
		// Whoever takes anything, or text, gets the bytes. An EventSource asks for this alone.
		native = field.Accepted(c.Request().Header.PeekAll(fiber.HeaderAccept), []string{stream.DefaultType, "text/plain", eventStream}) == eventStream
		if at := strings.TrimSpace(c.Get("Last-Event-ID")); native && at != "" {
			read.Offset = at
		}
	}
	s, err := a.Streams.StreamState(a.storeContext(), name, true)
	if err != nil {
		return a.ofStream(c, err)
	}
	from, err := a.beginning(name, &s, &read)
	if err != nil {
		return a.ofStream(c, err)
	}
	switch {
	case native || read.Live == durable.SSE:
		return a.follow(c, caller, name, &s, from, read, native)
	case read.Live == durable.LongPoll:
		return a.poll(c, caller, name, s, from, read)
	}
	return a.sendStream(c, name, &s, from, read)
}

// eventStream is the media type of what an EventSource asks for.
const eventStream = "text/event-stream"

// beginning returns the position that a call asks for. Of JSON messages it has to be that of one.
func (a *API) beginning(name stream.Name, s *stream.Stream, read *durable.Read) (uint64, error) {
	from, err := read.From(s)
	if err != nil || !s.JSON() || from == 0 || from == s.Tail {
		return from, err
	}
	var before [1]byte
	n, err := a.Streams.ReadStream(a.storeContext(), name, before[:], from-1)
	if err == nil && (n == 0 || before[0] != '\n') {
		err = stream.ErrOffset
	}
	return from, err
}

// headOf answers HEAD.
func (a *API) headOf(c *fiber.Ctx, name stream.Name) error {
	s, err := a.Streams.StreamState(a.storeContext(), name, false)
	if err != nil {
		return a.ofStream(c, err)
	}
	durable.Describe(&s, setter(c))
	c.Set(fiber.HeaderContentType, typeOf(&s))
	c.Set(fiber.HeaderCacheControl, "no-store")
	body := a.bytesOf(name, &s, 0, s.Tail)
	c.Context().Response.SetBodyStream(httpbody.NewSection(0, nil), int(body.size))
	return nil
}

// typeOf returns the media type of an answer with bytes of a stream.
func typeOf(s *stream.Stream) string {
	if s.Type == "" {
		return stream.DefaultType
	}
	return s.Type
}

// sendStream answers with all that there is from a position on.
func (a *API) sendStream(c *fiber.Ctx, name stream.Name, s *stream.Stream, from uint64, read durable.Read) error {
	c.Set(durable.FieldNextOffset, s.Offset(s.Tail))
	c.Set(durable.FieldUpToDate, "true")
	if s.Closed {
		c.Set(durable.FieldClosed, "true")
	}
	if read.Live == durable.LongPoll && !s.Closed {
		c.Set(durable.FieldCursor, durable.Cursor(time.Now(), read.Cursor, rand.IntN))
	}
	c.Set(fiber.HeaderContentType, typeOf(s))
	if read.Offset == durable.Now {
		c.Set(fiber.HeaderCacheControl, "no-store")
	} else {
		tag := durable.ETag(s, from, s.Tail)
		c.Set(fiber.HeaderETag, tag)
		c.Set(fiber.HeaderCacheControl, "private, no-cache") // by its tag
		if matches(c.Get(fiber.HeaderIfNoneMatch), tag) {
			c.Response().Header.Del(fiber.HeaderContentType)
			return c.SendStatus(fiber.StatusNotModified)
		}
	}
	return a.bytesOf(name, s, from, s.Tail).send(c)
}

// poll answers a reader by long poll: as soon as there is something behind its position.
func (a *API) poll(c *fiber.Ctx, caller auth.Caller, name stream.Name, s stream.Stream, from uint64, read durable.Read) error {
	if s.Tail == from && !s.Closed {
		var err error
		if s, err = a.awaitStream(c, caller, name, s, from); err != nil {
			return a.ofStream(c, err)
		}
	}
	if s.Tail > from {
		read.Offset = "" // what has come may be cached, also by who has asked for now
		return a.sendStream(c, name, &s, from, read)
	}
	c.Set(durable.FieldNextOffset, s.Offset(s.Tail))
	c.Set(durable.FieldUpToDate, "true")
	c.Set(fiber.HeaderCacheControl, "no-store")
	if s.Closed {
		c.Set(durable.FieldClosed, "true")
	} else {
		c.Set(durable.FieldCursor, durable.Cursor(time.Now(), read.Cursor, rand.IntN))
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// streamChannel is the channel of a stream as the hub knows it.
func streamChannel(name stream.Name, s *stream.Stream) hub.Channel {
	return hub.Channel{Key: name.Key(), Name: "stream:" + name.Path, Epoch: s.Tag}
}

// ofStream says what the protocol wants to be said with an error.
func (a *API) ofStream(c *fiber.Ctx, err error) error {
	if closed, ok := errors.AsType[*stream.ClosedError](err); ok {
		c.Set(durable.FieldClosed, "true")
		c.Set(durable.FieldNextOffset, closed.Stream.Offset(closed.Stream.Tail))
	}
	if stale, ok := errors.AsType[*stream.StaleError](err); ok {
		c.Set(durable.FieldEpoch, strconv.FormatInt(stale.Epoch, 10))
	}
	if gap, ok := errors.AsType[*stream.GapError](err); ok {
		c.Set(durable.FieldExpected, strconv.FormatInt(gap.Expected, 10))
		c.Set(durable.FieldReceived, strconv.FormatInt(gap.Received, 10))
	}
	return err
}

// follow hands the connection of a reader to the hub.
func (a *API) follow(c *fiber.Ctx, caller auth.Caller, name stream.Name, s *stream.Stream, from uint64, read durable.Read, native bool) error {
	if native && s.Closed && from == s.Tail {
		return c.SendStatus(fiber.StatusNoContent) // tells an EventSource to stay away
	}
	encoded, err := a.needsBase64(name, s, from)
	if err != nil {
		return err
	}
	transport := hub.Durable(c.Request().Header.IsHTTP11(), encoded)
	if native {
		transport = hub.Native(c.Request().Header.IsHTTP11(), encoded)
	} else if encoded {
		c.Set(hub.EncodingField, "base64")
	}
	options := hub.StreamOptions{
		Header: answerFields(c), After: &hub.Cursor{Offset: from, Epoch: s.Tag}, Caller: caller.Subject, Address: a.client(c), Credential: caller.Credential(),
		Transport: transport, Cursor: hub.ParseStreamCursor(read.Cursor),
	}
	channel := streamChannel(name, s)
	c.Context().HijackSetNoResponse(true)
	c.Context().Hijack(func(conn net.Conn) {
		raw, _ := takeOver(conn, false)
		a.Hub.ServeStream(raw, channel, options)
	})
	return nil
}
