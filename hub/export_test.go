package hub

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Chunks reads a chunked body as strictly as it can be read (RFC 9112, section 7.1): no extensions,
// no trailers, no needless digits, nothing behind the last chunk. Each chunk holds whole lines.
type Chunks struct {
	r     *bufio.Reader
	left  []byte // of the chunk
	Ended bool   // there was the last chunk
	Cut   bool   // the body ends within a chunk
}

// NewChunks reads from r.
func NewChunks(r io.Reader) *Chunks {
	br, ok := r.(*bufio.Reader)
	if !ok {
		br = bufio.NewReader(r)
	}
	return &Chunks{r: br}
}

// ErrChunk is what is not well-formed.
var ErrChunk = errors.New("not a chunk")

// Read returns io.EOF behind the last chunk, io.ErrUnexpectedEOF without it, and an error that
// wraps ErrChunk for what is none.
func (c *Chunks) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *Chunks) next() error {
	if c.Ended {
		return io.EOF
	}
	head, err := c.r.ReadString('\n')
	if err == io.EOF {
		c.Cut = head != ""
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	digits, crlf := strings.CutSuffix(head, "\r\n")
	n, err := strconv.ParseUint(digits, 16, 40)
	if err != nil || !crlf || strconv.FormatUint(n, 16) != digits {
		return fmt.Errorf("%w: it begins with %q", ErrChunk, head)
	}
	c.left = make([]byte, n+2)
	if _, err := io.ReadFull(c.r, c.left); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		c.left, c.Cut = nil, true
		return err
	}
	if !bytes.HasSuffix(c.left, []byte("\r\n")) || n > 0 && c.left[n-1] != '\n' {
		return fmt.Errorf("%w: it ends with %q", ErrChunk, c.left[max(0, len(c.left)-20):])
	}
	if c.left = c.left[:n]; n > 0 {
		return nil
	}
	c.Ended = true
	if b, err := c.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: %q behind the last one, %w", ErrChunk, b, err)
	}
	return io.EOF
}

// TakesDescriptors says whether a write goes to the socket at once, and may find it full: else all
// wait for the flusher.
const TakesDescriptors = takesDescriptors

// Beat gives every connection its heartbeat now.
func Beat(h *Hub) {
	for _, o := range h.wheel.all() {
		o.beat()
	}
}

// Unanswered returns how many connections have been sent pings since their clients have said
// anything.
func Unanswered(h *Hub) (n int) {
	for _, o := range h.wheel.all() {
		o.mu.Lock()
		if o.pings > 0 {
			n++
		}
		o.mu.Unlock()
	}
	return n
}

// Admission returns what tells the policy of the limit that a new connection of a caller from an
// address meets, "" if none.
func Admission(o Options) func(caller, from string) string {
	a := newAdmission(o)
	return func(caller, from string) string {
		_, met := a.admit(caller, netip.MustParseAddr(from), false, 0)
		if met == nil {
			return ""
		}
		return met.policy
	}
}

// Bound is what a connection may leave unread now.
func (h *Hub) Bound() int { return h.bound() }

// Crowd is crowd.
type Crowd struct{ crowd crowd }

// Throttle is throttle.
func (c *Crowd) Throttle(f func()) { c.crowd.throttle(f) }
