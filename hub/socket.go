package hub

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Subprotocol is the name of the WebSocket protocol that the hub speaks.
const Subprotocol = "hark.v1"

// SocketOptions of [Hub.ServeSocket].
type SocketOptions struct {
	// Origins are the origins (host patterns, see websocket.AcceptOptions) from
	// which browsers may connect besides the gateway's own.
	Origins []string
	// Session is what the client may do.
	Session Session
	// Caller is who connects, for Options.PerCaller.
	Caller string
	// Address is where from, for Options.PerAddress; the zero value if that is not known.
	Address netip.Addr
	// Credential is until when the connection may stay; nil for ever.
	Credential *Credential
	// Unproven says that the client has yet to send a token: it has Options.AuthTime
	// for that, and may do nothing else before.
	Unproven bool
	// Subscribe are subscriptions to make at once.
	Subscribe []Subscribe
	// Thin says that subscriptions get events in thin form unless they ask for another one.
	Thin bool
	// Refused, if not nil, is why the client may not be here: [ErrUnproven], [ErrExpired] or
	// [ErrForbidden], wrapped. It is told in the protocol, by an error and a close code, because a
	// browser's page sees nothing of an HTTP answer to its handshake.
	Refused error
}

// Offers reports whether the client of a handshake speaks the hub's protocol, so that it can be
// told something in it.
func Offers(header http.Header) bool {
	for _, field := range header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(name), Subprotocol) {
				// websocket.Accept chooses like that.
				return true
			}
		}
	}
	return false
}

// Subscribe asks for a channel, after an offset if the client has one.
type Subscribe struct {
	Channel string
	After   *Cursor
	Form    string // FormFull or FormThin; "" for that of the connection
}

// Errors that the protocol itself knows; [Session] gets them for Problem, wrapped.
var (
	ErrMessage       = errors.New("malformed message")
	ErrUnknownOp     = errors.New("unknown op")
	ErrNotSubscribed = errors.New("not subscribed to this channel")
	ErrTooMany       = errors.New("too many subscriptions on this connection")
	ErrUnproven      = errors.New("the client has not proven who it is")
	ErrExpired       = errors.New("what proves who the client is holds no longer")
	ErrForbidden     = errors.New("the client may not be here")
	ErrNoTokens      = errors.New("this gateway takes no tokens")
)

// socket is one WebSocket connection. While it waits it holds no goroutine and no
// buffer. The handshake is coder/websocket's; afterwards the frames are read here, as
// they arrive, because a blocked reader costs a stack for each connection.
type socket struct {
	outbox

	// Of one reader at a time: whoever was told that there is something.
	session Session
	in      *inbound

	subsMu   sync.Mutex
	left     bool
	unproven bool // not under subsMu, but the reader's: it has yet to say who it is
	subs     []*subscription
}

// ServeSocket speaks the protocol hark.v1 on conn, whose handshake request is r,
// and takes conn over. read is what was received behind the handshake already. It
// returns when the handshake is done and the first subscriptions are made.
func (h *Hub) ServeSocket(conn net.Conn, read []byte, r *http.Request, o SocketOptions) {
	if !h.enter() {
		_ = conn.Close()
		return
	}
	defer h.tasks.Done()
	s := &socket{session: o.Session, unproven: o.Unproven}
	form := formSocket
	if o.Thin {
		form = formThinSocket
	}
	if o.Unproven {
		o.Caller, o.Credential = "", NewCredential(time.Now().Add(h.opts.AuthTime))
		o.Credential.probation = true
	}
	// Who is refused has a moment to read why.
	place, met := h.admission.admit(o.Caller, o.Address, o.Unproven || o.Refused != nil, h.stats.openNow())
	s.init(h, conn, form, s, place, o.Credential)
	accepted, err := websocket.Accept(&handshake{socket: s, header: make(http.Header)}, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Subprotocol},
		OriginPatterns:  o.Origins,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		s.finish(nil, reasonProtocol)
		return
	}
	_ = accepted.CloseNow() // of what Hijack gave it; else its finalizer keeps it for long
	switch {
	case r.Header.Get("Sec-WebSocket-Protocol") != "" && accepted.Subprotocol() == "":
		s.dismiss(&farewell{why: reasonProtocol, code: CloseSubprotocol, text: "want the subprotocol " + Subprotocol})
	case met != nil:
		s.dismiss(h.stats.meets(met))
	case o.Refused != nil:
		s.refuse("", o.Refused)
		s.dismiss(refusal(o.Refused))
	case h.draining.Load():
		s.dismiss(&farewell{why: reasonShutdown, code: CloseTryLater, text: "restarting, try later"})
	}
	for _, sub := range o.Subscribe {
		s.subscribe(h.ctx, sub)
	}
	s.take(read)
	if err := s.watch(); err != nil {
		s.unwatched(err)
	}
}

// refusal returns how a client is sent away that may not be here.
func refusal(err error) *farewell {
	switch {
	case errors.Is(err, ErrExpired):
		return &farewell{why: reasonExpired, code: CloseExpired, text: "the token has expired, or was revoked"}
	case errors.Is(err, ErrForbidden):
		return &farewell{why: reasonForbidden, code: ClosePolicy, text: "the caller may not be here"}
	default:
		return &farewell{why: reasonUnproven, code: CloseUnauthenticated, text: "the token is not taken"}
	}
}

// readable implements connection. The reading, and what comes of it, has a goroutine for as
// long as it takes.
func (s *socket) readable() { s.hub.tasks.Go(s.readReady) }

// readReady takes what has arrived and then waits again.
func (s *socket) readReady() {
	buffer := make([]byte, 2048)
	for {
		n, closed := s.tryRead(buffer)
		if closed {
			s.abort(reasonGone)
			return
		}
		if n == 0 {
			_ = s.watch() // as it was the first time
			return
		}
		s.take(buffer[:n])
	}
}

// unwatched goes on without the poller.
func (s *socket) unwatched(err error) {
	if s.conn != nil {
		s.hub.tasks.Go(func() { s.readBlocking(make([]byte, 2048), s.take) })
		return
	}
	if !errors.Is(err, errClosed) {
		s.hub.log.Warn("socket closed: it cannot be watched", slog.Any("error", err))
	}
	s.dismiss(&farewell{why: reasonShed, code: CloseTryLater, text: "cannot be served, try later"})
}

// take handles what the client has sent. Once the connection is closing, that is
// dropped: closing with bytes unread would reset the connection and take our
// close frame with it.
func (s *socket) take(b []byte) {
	switch {
	case len(b) == 0 || !s.open():
	case s.talkative(calmReads):
		s.hub.crowd.throttle(func() { s.handle(b) })
	default:
		s.handle(b)
	}
}

// handle is take while the connection is open.
func (s *socket) handle(b []byte) {
	var pong []byte
	answer := func() {
		if pong != nil {
			_ = s.write(pong, false)
			pong = nil
		}
	}
	message := func(text []byte) {
		answer()
		s.message(text)
	}
	in, err := s.in.take(b, s.hub.opts.MessageBytes, message, func(f frame) error {
		if f.op != framePing {
			return s.control(f)
		}
		// Of pings that came together only the last one is answered (RFC 6455, section 5.5.3), so
		// that they cost less than messages.
		pong = append(appendFrameHeader(make([]byte, 0, 2+len(f.payload)), opPong, len(f.payload)), f.payload...)
		return nil
	})
	s.in = in
	answer()
	if w, ok := errors.AsType[*wireError](err); ok {
		s.dismiss(&farewell{why: reasonProtocol, code: w.code, text: w.reason})
	}
}

// control handles a control frame that is no ping.
func (s *socket) control(f frame) error {
	if f.op != frameClose { // a pong has done its work when it arrived
		return nil
	}
	b, err := closeReply(f)
	if err != nil {
		return err
	}
	s.finish(b, reasonGone)
	return nil
}

// message handles a text message.
func (s *socket) message(text []byte) {
	c, err := parseCommand(text)
	switch {
	case errors.Is(err, ErrUnknownOp):
		s.refuse(c.Channel, err)
		return
	case err != nil:
		s.refuse("", err)
		return
	}
	switch c.Op {
	case "subscribe":
		s.subscribe(s.hub.ctx, Subscribe{Channel: c.Channel, After: c.After, Form: c.Form})
	case "unsubscribe":
		if !s.unsubscribe(c.Channel) {
			s.refuse(c.Channel, ErrNotSubscribed)
			return
		}
		s.tell("unsubscribed", c.Channel, nil)
	case "ping":
		s.reply(s.hub.signs.pong)
	case "auth":
		s.authenticate(c.Token)
	}
}

// subscribe makes a subscription, in place of one to the same channel.
func (s *socket) subscribe(ctx context.Context, want Subscribe) {
	if s.unproven {
		s.refuse(want.Channel, ErrUnproven)
		return
	}
	c, err := s.session.Resolve(ctx, want.Channel)
	if err != nil {
		s.refuse(want.Channel, err)
		return
	}
	c.Name = want.Channel
	if strings.HasPrefix(c.Key, want.Channel) {
		c.Name = c.Key[:len(want.Channel)] // one string instead of two
	}
	s.unsubscribe(want.Channel)
	s.subsMu.Lock()
	if s.left {
		s.subsMu.Unlock()
		return
	}
	if len(s.subs) >= s.hub.opts.Subscriptions {
		s.subsMu.Unlock()
		s.refuse(want.Channel, ErrTooMany)
		return
	}
	sub := new(subscription)
	s.hub.join(c, s, sub, s.formOf(want))
	defer s.hub.release(sub.ch)
	s.subs = append(s.subs, sub)
	s.counted()
	s.subsMu.Unlock()
	if err := s.hub.follow(ctx, sub, c, want.After); err != nil && !errors.Is(err, errClosed) {
		s.broken(sub, err)
	}
}

// formOf returns the form that a subscription gets.
func (s *socket) formOf(want Subscribe) form {
	switch want.Form {
	case FormFull:
		return formSocket
	case FormThin:
		return formThinSocket
	}
	return s.form
}

// unsubscribe reports whether there was a subscription.
func (s *socket) unsubscribe(name string) bool {
	return s.drop(func(sub *subscription) bool { return sub.ch.name == name })
}

// drop ends the subscription that is meant and reports whether there was one.
func (s *socket) drop(meant func(*subscription) bool) bool {
	s.subsMu.Lock()
	i := slices.IndexFunc(s.subs, meant)
	if i < 0 {
		s.subsMu.Unlock()
		return false
	}
	sub := s.subs[i]
	s.subs = slices.Delete(s.subs, i, i+1)
	s.counted()
	s.subsMu.Unlock()
	sub.ch.remove(sub)
	return true
}

// counted tells the outbox whether there are several subscriptions. Called under s.subsMu.
func (s *socket) counted() {
	s.mu.Lock()
	s.many = len(s.subs) > 1
	s.mu.Unlock()
}

// leave implements connection.
func (s *socket) leave() {
	s.subsMu.Lock()
	subs := s.subs
	s.subs, s.left = nil, true
	s.subsMu.Unlock()
	for _, sub := range subs {
		sub.ch.remove(sub)
	}
}

func (s *socket) begin(sub *subscription, _, top uint64, recovered bool) {
	var rest []byte
	if epoch := sub.ch.epoch; epoch != "" && sub.form.thin() { // which no event says there
		rest = append(append(append(rest, `,"life":"`...), epoch...), '"')
	}
	rest = strconv.AppendUint(append(rest, `,"offset":`...), top, 10)
	rest = strconv.AppendBool(append(rest, `,"recovered":`...), recovered)
	s.tell("subscribed", sub.ch.name, rest)
}

func (s *socket) ended(sub *subscription, offset uint64) {
	s.tell("end", sub.ch.name, strconv.AppendUint([]byte(`,"offset":`), offset, 10))
	// Under the channel's lock here, which removing takes.
	s.hub.tasks.Go(func() {
		s.drop(func(other *subscription) bool { return other == sub })
	})
}

func (s *socket) broken(sub *subscription, err error) {
	if s.hub.ctx.Err() == nil {
		s.hub.log.Warn("socket closed: a channel could not be read", slog.String("channel", sub.ch.name), slog.Any("error", err))
	}
	s.dismiss(farewellSource)
}

// tell sends a message about a channel; rest are further members, each with a
// comma before it.
func (s *socket) tell(op, channel string, rest []byte) {
	b := append([]byte(`{"op":"`), op...)
	b = appendJSONString(append(b, `","channel":`...), channel)
	s.reply(append(append(b, rest...), '}'))
}

// refuse sends an error, about a channel if one is named.
func (s *socket) refuse(channel string, err error) {
	b := []byte(`{"op":"error"`)
	if channel != "" {
		b = appendJSONString(append(b, `,"channel":`...), channel)
	}
	b = append(append(b, `,"problem":`...), s.session.Problem(err)...)
	s.reply(append(b, '}'))
}

func (s *socket) reply(payload []byte) { _ = s.write(textFrame(payload), false) }

// handshake lets websocket.Accept write its answer through the outbox.
type handshake struct {
	socket *socket
	header http.Header
	status int
}

func (w *handshake) Header() http.Header { return w.header }

func (w *handshake) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if status != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close")
	}
	var head strings.Builder
	head.WriteString("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n")
	_ = w.header.Write(&head) // a builder takes everything
	head.WriteString("\r\n")
	_ = w.socket.write([]byte(head.String()), true)
}

func (w *handshake) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(b), w.socket.write(slices.Clone(b), true)
}

// Hijack implements [http.Hijacker]. What Accept makes of the connection is not
// used, so it does not get it.
func (w *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	none, other := net.Pipe()
	_ = other.Close()
	return none, bufio.NewReadWriter(bufio.NewReaderSize(none, 16), bufio.NewWriterSize(none, 16)), nil
}
