package intake

import (
	"net"
	"strconv"
	"time"
)

// refusal is why a connection is not taken, as the whole answer to whatever it asks.
type refusal struct{ answer []byte }

var (
	perAddress = newRefusal("429 Too Many Requests", "too-many-connections", "Too many connections", "Your address has as many connections to this gateway as it may have.")
	inAll      = newRefusal("503 Service Unavailable", "unavailable", "Temporarily unavailable", "The gateway has as many connections as it can serve.")
)

// newRefusal writes problem details (RFC 9457) as the API does, for a client that has not asked
// anything yet.
func newRefusal(status, name, title, detail string) *refusal {
	body := `{"type":"/problems/` + name + `","title":"` + title + `","status":` + status[:3] + `,"detail":"` + detail + `"}`
	return &refusal{[]byte("HTTP/1.1 " + status + "\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\nRetry-After: 1\r\n" +
		"Connection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)}
}

// Bounds on what is spent on those who are refused.
const (
	refusals   = 32 // that are told why at the same time
	refuseTime = 500 * time.Millisecond
)

// refuse closes a connection. As long as there are not too many of them, it is told why, by
// somebody else.
func (l *Listener) refuse(c net.Conn, why *refusal) {
	if l.tells(why) {
		l.gates.Go(func() { l.say(c, why) })
		return
	}
	_ = c.Close()
}

// tell is refuse for who can wait until that has been done.
func (l *Listener) tell(c net.Conn, why *refusal) {
	if l.tells(why) {
		l.say(c, why)
		return
	}
	_ = c.Close()
}

// tells reports whether a client can be told why, and takes a place for that, which say gives back.
func (l *Listener) tells(why *refusal) bool {
	if l.opts.Secured || why == nil {
		return false
	}
	select {
	case l.turned <- struct{}{}:
		return true
	default:
		return false
	}
}

// say tells a client why it is refused, and closes the connection. What the client has sent is
// read, because closing with bytes unread takes the answer away (RFC 9112, section 9.6).
func (l *Listener) say(c net.Conn, why *refusal) {
	defer func() { <-l.turned }()
	defer func() { _ = c.Close() }()
	if c.SetDeadline(time.Now().Add(refuseTime)) != nil {
		return
	}
	if _, err := c.Write(why.answer); err != nil {
		return
	}
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	var buffer [2 << 10]byte
	for {
		if _, err := c.Read(buffer[:]); err != nil {
			return
		}
	}
}
