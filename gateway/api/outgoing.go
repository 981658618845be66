package api

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/budget"
	"github.com/hark-push/hark/lifecycle"
)

// What an answer costs while a slow client reads it is bounded, too. Results are read from the store piece by piece, as they are sent; stored
// events are made as they are sent; what has to be made as a whole claims its bytes from the budget of the bodies until it is gone.

// pieceSize is how much of an answer is in memory, and given to the socket, at a time, in bytes. Answers that are not larger
// are made as a whole.
const pieceSize = 64 << 10

var pieceBuffers = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// errCut ends an answer that has begun and cannot be ended: the connection is closed, so that nobody takes it for whole.
var errCut = errors.New("the answer cannot be ended")

// section is a part of a body that is read from somewhere piece by piece, from at until end. One goroutine uses it.
type section struct {
	read    func(p []byte, offset int64) (int, error) // fills p, or less of it at the end only
	at, end int64
	from    int64 // where it began
}

// Read implements [io.Reader].
func (s *section) Read(p []byte) (int, error) {
	if s.at >= s.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end-s.at)]
	n, err := s.read(p, s.at)
	s.at += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek implements [io.Seeker].
func (s *section) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at - s.from
	case io.SeekEnd:
		offset += s.end - s.from
	}
	if offset < 0 || offset > s.end-s.from {
		return 0, errors.New("seek beyond a body")
	}
	s.at = s.from + offset
	return offset, nil
}

// WriteTo implements [io.WriterTo], with one buffer for all of it.
func (s *section) WriteTo(w io.Writer) (total int64, err error) {
	buffer := pieceBuffers.Get().(*[pieceSize]byte) //nolint:forcetypeassert // it makes nothing else
	defer pieceBuffers.Put(buffer)
	for {
		n, err := s.Read(buffer[:])
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		m, err := w.Write(buffer[:n])
		total += int64(m)
		if err != nil {
			return total, err
		}
	}
}

// resultOf returns the result of a request, to be read while it is sent.
func (a *API) resultOf(r *lifecycle.Request) *section {
	of := r.Ref()
	return &section{end: r.Result.Size, read: func(p []byte, offset int64) (int, error) {
		n, err := a.Service.ReadResult(a.storeContext(), of, p, offset)
		if err != nil {
			a.log.Warn("a result could not be sent to its end", slog.String("request", of.ID), slog.Any("error", err))
		}
		return n, err
	}}
}

// held is an answer that was made as a whole, of several parts one behind the other.
type held struct {
	parts []io.WriterTo
	claim *budget.Claim
	sent  int64
}

// WriteTo implements [io.WriterTo].
func (h *held) WriteTo(w io.Writer) (int64, error) {
	for _, part := range h.parts {
		if _, err := part.WriteTo(counted{h, w}); err != nil {
			return h.sent, err
		}
	}
	h.parts = nil
	return h.sent, nil
}

// counted writes for a held answer, and tells its claim how much is gone.
type counted struct {
	*held
	w io.Writer
}

func (c counted) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		if c.claim.Slow() {
			return n, errCut
		}
		var m int
		m, err = c.w.Write(p[:min(len(p), pieceSize)])
		p, n = p[m:], n+m
		c.sent += int64(m)
		c.claim.Fill(c.sent)
	}
	return n, err
}

// Read implements [io.Reader], which the server does not use because there is WriteTo.
func (h *held) Read([]byte) (int, error) { return 0, errCut }

// Close implements [io.Closer]: the answer is gone, or will not be sent.
func (h *held) Close() error {
	h.parts = nil
	h.claim.Release()
	return nil
}

// claimAnswer claims the bytes of a large answer, which are given back when it was sent; nil if it is not large. With insist
// it gets them in any case, and others wait: what it says cannot be said again. Errors are problems.
func claimAnswer(c *fiber.Ctx, size int, insist bool) (*budget.Claim, error) {
	if size <= pieceSize {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	conn := connOf(c.Context())
	cut := func() { _ = conn.Conn.SetWriteDeadline(time.Unix(1, 0)) } // see conn.send
	claim := conn.uploads.Budget.Claim(cut, conn.caller, conn.address())
	if insist {
		claim.Insist(int64(size))
		return claim, nil
	}
	if err := claim.Grow(int64(size)); err != nil {
		return nil, noRoom(err)
	}
	return claim, nil
}

// sendHeld answers with what was made as a whole, of so many bytes, and gives the claim back when it was sent.
func sendHeld(c *fiber.Ctx, claim *budget.Claim, size int, parts ...io.WriterTo) {
	c.Context().Response.SetBodyStream(&held{parts: parts, claim: claim}, size)
}

// encoded writes bytes in base64.
type encoded []byte

// WriteTo implements [io.WriterTo].
func (e encoded) WriteTo(w io.Writer) (int64, error) {
	const piece = pieceSize / 4 * 3                 // whole groups
	buffer := pieceBuffers.Get().(*[pieceSize]byte) //nolint:forcetypeassert // it makes nothing else
	defer pieceBuffers.Put(buffer)
	total := int64(0)
	for rest := []byte(e); len(rest) > 0; {
		some := rest[:min(len(rest), piece)]
		rest = rest[len(some):]
		base64.StdEncoding.Encode(buffer[:], some)
		n, err := w.Write(buffer[:base64.StdEncoding.EncodedLen(len(some))])
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func sendJSON(c *fiber.Ctx, status int, body []byte) error {
	return sendMade(c, status, body, false)
}

// sendMade answers with JSON that was made as a whole; insist as [claimAnswer] has it.
func sendMade(c *fiber.Ctx, status int, body []byte, insist bool) error {
	claim, err := claimAnswer(c, len(body), insist)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, "application/json")
	c.Status(status)
	if claim == nil {
		return c.Send(body)
	}
	sendHeld(c, claim, len(body), bytes.NewReader(body))
	return nil
}
