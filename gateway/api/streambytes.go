package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/hangup"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// part is what a stream has from one position up to another, as an answer has it.
type part struct {
	*httpbody.Section
	size uint64
}

// bytesOf returns a part of a stream, which is read from the store while it is sent. JSON messages
// come as an array (PROTOCOL.md, section 9.1.5), which has as many bytes and one more: each line
// feed behind one becomes a comma, and the last one the end.
func (a *API) bytesOf(name stream.Name, s *stream.Stream, from, to uint64) part {
	size := to - from
	if !s.JSON() {
		return part{httpbody.NewSection(int64(size), func(p []byte, at int64) (int, error) {
			return a.Streams.ReadStream(a.storeContext(), name, p, from+uint64(at))
		}), size}
	}
	if size == 0 {
		return part{httpbody.NewSection(2, func(p []byte, at int64) (int, error) { return copy(p, "[]"[at:]), nil }), 2}
	}
	size++
	return part{httpbody.NewSection(int64(size), func(p []byte, at int64) (n int, err error) {
		if at == 0 && len(p) > 0 {
			p[0], n = '[', 1
			if len(p) == 1 {
				return 1, nil
			}
			at = 1
		}
		m, err := a.Streams.ReadStream(a.storeContext(), name, p[n:], from+uint64(at)-1)
		messages := p[n : n+m]
		for i := bytes.IndexByte(messages, '\n'); i >= 0; i = bytes.IndexByte(messages, '\n') {
			messages[i] = ','
		}
		if m > 0 && uint64(at)+uint64(m) == size {
			messages[m-1] = ']'
		}
		return n + m, err
	}), size}
}

// send answers with it.
func (p part) send(c *fiber.Ctx) error {
	return httpbody.SendParts(c, []io.WriterTo{p.Section}, int(p.size))
}

// awaitStream returns a stream once it has something behind a position or is closed, or as it is
// when the time for long polls has passed, the server drains, or the client has hung up.
func (a *API) awaitStream(c *fiber.Ctx, caller auth.Caller, name stream.Name, s stream.Stream, from uint64) (stream.Stream, error) {
	ctx, cancel := context.WithTimeout(a.ctx, a.LongPoll)
	defer cancel()
	ctx, release := caller.Until(ctx)
	defer release()
	waiter, err := a.Hub.Wait(ctx, streamChannel(name, &s))
	if err != nil {
		return s, nil // no notifications, no waiting: the client polls on
	}
	defer waiter.Close()
	load := func() (done bool, err error) {
		next, err := a.Streams.StreamState(a.storeContext(), name, false)
		if err != nil {
			return true, err
		}
		if next.Tag != s.Tag { // it was deleted, and made anew
			return true, stream.ErrNotFound
		}
		s = next
		return s.Tail > from || s.Closed, nil
	}
	if done, err := load(); done {
		return s, err
	}
	present, stop := hangup.Watch(ctx, httpbody.ConnOf(c.Context()))
	defer stop()
	for {
		select {
		case <-waiter.C:
		case <-present.Done():
			return s, caller.Ended()
		}
		if done, err := load(); done {
			return s, err
		}
	}
}

// needsBase64 reports whether the bytes of a stream are told in base64 to one who follows it from a
// position on: all but JSON and texts, and a text if what comes first would not survive as lines.
// If such bytes come later its connection ends in front of them, and it comes back.
func (a *API) needsBase64(name stream.Name, s *stream.Stream, from uint64) (bool, error) {
	switch wire.PieceKind(s.Type) {
	case hub.PieceBytes:
		return true, nil
	case hub.PieceJSON:
		return false, nil
	}
	if from == s.Tail {
		return false, nil
	}
	page, err := a.Source.Read(a.storeContext(), name.Key(), from, firstPieces)
	if err != nil {
		return false, err
	}
	for _, m := range page.Messages {
		if m.Piece != nil && len(m.Event) > 0 && !m.Piece.Plain {
			return true, nil
		}
	}
	return false, nil
}

// firstPieces is how many pieces are looked at in front of an answer.
const firstPieces = 16

// holdTime is how long a call waits for a store that is away, before it is refused. A producer of
// Durable Streams that is told to come back does not, and what it had to say is lost.
const holdTime = 10 * time.Second

// holdPause is what lies between two tries.
const holdPause = 100 * time.Millisecond

// hold makes a change of a stream, and waits for a store that is away. What may be repeated,
// because the store knows it again, is tried until it is back. Else nobody knows whether a try has
// gone through, so only such calls wait as come while the store is known to be away.
func (a *API) hold(repeats bool, change func(context.Context) error) error {
	end := time.Now().Add(holdTime)
	if a.away.Load() && a.Ready != nil {
		for a.Ready(a.storeContext()) != nil && a.pause(end) {
		}
	}
	for {
		err := change(a.storeContext())
		unavailable := errors.Is(err, lifecycle.ErrUnavailable) && !errors.Is(err, lifecycle.ErrFull)
		a.away.Store(unavailable)
		if !unavailable || !repeats || !a.pause(end) {
			return err
		}
	}
}

// pause waits a moment, and reports whether there is time for another try.
func (a *API) pause(end time.Time) bool {
	if time.Until(end) < holdPause {
		return false
	}
	wait := time.NewTimer(holdPause)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}
