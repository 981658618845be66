package httpbody

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/budget"
)

// What an answer costs while a slow client reads it is bounded, too. Results are read from the
// store piece by piece, as they are sent; stored events are made as they are sent; what has to be
// made as a whole reserves its bytes from the budget of the bodies until it is gone.

// PieceSize is how much of an answer is in memory, and given to the socket, at a time, in bytes.
// Answers that are not larger are made as a whole.
const PieceSize = 64 << 10

var pieceBuffers = sync.Pool{New: func() any { return new([PieceSize]byte) }}

// errCut ends an answer that has begun and cannot be ended: the connection is closed, so that
// nobody takes it for whole.
var errCut = errors.New("the answer cannot be ended")

// Section is a part of a body that is read from somewhere piece by piece, from at until end. One
// goroutine uses it.
type Section struct {
	read    func(p []byte, offset int64) (int, error) // fills p, or less of it at the end only
	at, end int64
	from    int64 // where it began
}

// NewSection returns a body of so many bytes. read fills what it is given from an offset, or less
// of it at the end only.
func NewSection(size int64, read func(p []byte, offset int64) (int, error)) *Section {
	return &Section{end: size, read: read}
}

// Head reads its beginning, which is read again when it is sent.
func (s *Section) Head(p []byte) (int, error) { return s.read(p, 0) }

// Read implements [io.Reader].
func (s *Section) Read(p []byte) (int, error) {
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
func (s *Section) Seek(offset int64, whence int) (int64, error) {
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
func (s *Section) WriteTo(w io.Writer) (total int64, err error) {
	buffer := pieceBuffers.Get().(*[PieceSize]byte) //nolint:forcetypeassert // it makes nothing else
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

// held is an answer of several parts, one behind the other.
type held struct {
	parts       []io.WriterTo
	reservation *budget.Reservation // on what they hold; nil: they read it from the store
	cut         func()              // called if it is not sent to its end; may be nil
	sent        int64
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

// counted writes for a held answer, and tells its reservation how much is gone.
type counted struct {
	*held
	w io.Writer
}

func (c counted) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		if c.reservation.Slow() {
			return n, errCut
		}
		var m int
		m, err = c.w.Write(p[:min(len(p), PieceSize)])
		p, n = p[m:], n+m
		c.sent += int64(m)
		c.reservation.Fill(c.sent)
	}
	return n, err
}

// Read implements [io.Reader], which the server does not use because there is WriteTo.
func (h *held) Read([]byte) (int, error) { return 0, errCut }

// Close implements [io.Closer]: the answer is gone, or will not be sent.
func (h *held) Close() error {
	if h.parts != nil && h.cut != nil {
		h.cut()
	}
	h.parts = nil
	h.reservation.Release()
	return nil
}

// SendParts answers with parts of a body of so many bytes, one behind the other. If they are many
// bytes each part is written while it is sent.
func SendParts(c *fiber.Ctx, parts []io.WriterTo, size int) error {
	c.Status(fiber.StatusOK)
	if size > PieceSize {
		c.Context().Response.SetBodyStream(&held{parts: parts, cut: ConnOf(c.Context()).Missed}, size)
		return nil
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	for _, part := range parts {
		if _, err := part.WriteTo(body); err != nil {
			return err
		}
	}
	return c.Send(body.Bytes())
}

// SendJSON answers with JSON that was made as a whole.
func SendJSON(c *fiber.Ctx, status int, body []byte) error {
	c.Set(fiber.HeaderContentType, "application/json")
	if len(body) <= PieceSize {
		return c.Status(status).Send(body)
	}
	conn := ConnOf(c.Context())
	cut := func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) } // see conn.send
	reservation := conn.bounds.Budget.Reserve(cut, conn.Caller, conn.address())
	if err := reservation.Grow(int64(len(body))); err != nil {
		return noRoom(err)
	}
	c.Status(status)
	c.Context().Response.SetBodyStream(&held{parts: []io.WriterTo{bytes.NewReader(body)}, reservation: reservation}, len(body))
	return nil
}
