package hub

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/coder/websocket"
)

// Subprotocol is the name of the WebSocket protocol that the hub speaks.
const Subprotocol = "hark.v1"

// SocketOptions of [Hub.ServeSocket].
type SocketOptions struct {
	// Origins are the origins (host patterns, see websocket.AcceptOptions) from
	// which browsers may connect besides the gateway's own.
	Origins []string
	// Resolve returns the channel that the client means by a name, or an error
	// if it may not read it. It may be called until the connection ends.
	Resolve func(ctx context.Context, name string) (Channel, error)
	// Problem returns an error as problem details (RFC 9457), one line of JSON.
	Problem func(error) []byte
	// Subscribe are subscriptions to make at once.
	Subscribe []Subscribe
}

// Subscribe asks for a channel, after an offset if the client has one.
type Subscribe struct {
	Channel string
	After   *uint64
}

// Errors that the protocol itself knows; SocketOptions.Problem gets them, wrapped.
var (
	ErrMessage       = errors.New("malformed message")
	ErrUnknownOp     = errors.New("unknown op")
	ErrNotSubscribed = errors.New("not subscribed to this channel")
	ErrTooMany       = errors.New("too many subscriptions on this connection")
	ErrNoTokens      = errors.New("this gateway takes no tokens")
)

// socket is one WebSocket connection.
type socket struct {
	outbox
	opts SocketOptions

	subsMu sync.Mutex
	subs   map[string]*subscription // by channel name
}

// ServeSocket speaks the protocol hark.v1 on conn, whose handshake request is r,
// and takes conn over. read is what was received behind the handshake already. It
// returns when the handshake is done.
func (h *Hub) ServeSocket(conn net.Conn, read []byte, r *http.Request, o SocketOptions) {
	if !h.enter() {
		_ = conn.Close()
		return
	}
	defer h.tasks.Done()
	s := &socket{opts: o, subs: make(map[string]*subscription, 1)}
	s.opts.Subscribe = nil
	s.init(h, conn, wireSocket, s.leave)
	ws, err := websocket.Accept(&handshake{socket: s, read: read, header: make(http.Header)}, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Subprotocol},
		OriginPatterns:  o.Origins,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		s.finish(nil, reasonProtocol)
		return
	}
	ws.SetReadLimit(h.opts.MessageBytes)
	if h.draining.Load() {
		s.finish(closeFrame(uint16(CloseTryLater), "restarting, try later"), reasonShutdown)
	}
	for _, sub := range o.Subscribe {
		s.subscribe(h.ctx, sub)
	}
	// A new goroutine waits for the client: its stack has not grown yet.
	h.tasks.Go(func() { s.linger(s.readAll(ws)) })
}

// linger closes a connection whose reading ended with err. Unless the client said
// goodbye itself, what is queued still goes out, and what the client still sends
// is read and dropped meanwhile: closing with bytes unread resets the connection
// and takes our close frame with it. The outbox's timeouts end it.
func (s *socket) linger(err error) {
	if websocket.CloseStatus(err) == -1 && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.finish(nil, reasonProtocol)
		_, _ = io.Copy(io.Discard, s.conn)
	}
	s.abort(reasonGone)
}

// readAll handles what the client sends until the connection ends.
func (s *socket) readAll(ws *websocket.Conn) error {
	for {
		// No deadline: heartbeats find out whether the client is there, and
		// closing the connection ends the read.
		kind, message, err := ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			s.finish(closeFrame(uint16(CloseProtocol), "want text messages"), reasonProtocol)
			return errClosed
		}
		text, err := io.ReadAll(message)
		if err != nil {
			return err
		}
		// Elsewhere, because the stack that waits for the next message must
		// stay small: there is one for each connection.
		handled := make(chan struct{})
		s.hub.tasks.Go(func() {
			defer close(handled)
			s.handle(s.hub.ctx, text)
		})
		<-handled
	}
}

// command is what a client may send.
type command struct {
	Op      string  `json:"op"`
	Channel string  `json:"channel"`
	After   *uint64 `json:"after"`
	Token   string  `json:"token"`
}

func parseCommand(text []byte) (command, error) {
	var c command
	if err := json.Unmarshal(text, &c); err != nil {
		return c, errors.Join(ErrMessage, err)
	}
	return c, nil
}

func (s *socket) handle(ctx context.Context, text []byte) {
	c, err := parseCommand(text)
	if err != nil {
		s.problem("", err)
		return
	}
	switch c.Op {
	case "subscribe":
		s.subscribe(ctx, Subscribe{Channel: c.Channel, After: c.After})
	case "unsubscribe":
		if !s.unsubscribe(c.Channel) {
			s.problem(c.Channel, ErrNotSubscribed)
			return
		}
		s.tell("unsubscribed", c.Channel, nil)
	case "ping":
		s.reply([]byte(`{"op":"pong"}`))
	case "auth":
		s.problem("", ErrNoTokens)
	default:
		s.problem(c.Channel, ErrUnknownOp)
	}
}

// subscribe makes a subscription, in place of one to the same channel.
func (s *socket) subscribe(ctx context.Context, want Subscribe) {
	c, err := s.opts.Resolve(ctx, want.Channel)
	if err != nil {
		s.problem(want.Channel, err)
		return
	}
	c.Name = want.Channel
	s.unsubscribe(want.Channel)
	s.subsMu.Lock()
	if s.subs == nil { // closed meanwhile
		s.subsMu.Unlock()
		return
	}
	if len(s.subs) >= s.hub.opts.Subscriptions {
		s.subsMu.Unlock()
		s.problem(want.Channel, ErrTooMany)
		return
	}
	sub := new(subscription)
	s.hub.join(c, s, sub)
	s.subs[want.Channel] = sub
	s.subsMu.Unlock()
	if err := s.hub.follow(ctx, sub, c, want.After); err != nil && !errors.Is(err, errClosed) {
		s.broken(sub, err)
	}
}

// unsubscribe reports whether there was a subscription.
func (s *socket) unsubscribe(name string) bool {
	s.subsMu.Lock()
	sub := s.subs[name]
	delete(s.subs, name)
	s.subsMu.Unlock()
	if sub == nil {
		return false
	}
	sub.ch.remove(sub)
	return true
}

// leave ends all subscriptions of a connection that was closed.
func (s *socket) leave() {
	s.subsMu.Lock()
	subs := s.subs
	s.subs = nil
	s.subsMu.Unlock()
	for _, sub := range subs {
		sub.ch.remove(sub)
	}
}

func (s *socket) begin(sub *subscription, _, top uint64, recovered bool) {
	rest := append([]byte(`,"offset":`), strconv.FormatUint(top, 10)...)
	rest = strconv.AppendBool(append(rest, `,"recovered":`...), recovered)
	s.tell("subscribed", sub.ch.name, rest)
}

func (s *socket) send(_ *subscription, b *batch, history bool) {
	_ = s.write(b.Socket(), history) // a failed write has closed the outbox
}

func (s *socket) ended(sub *subscription, offset uint64) {
	s.tell("end", sub.ch.name, strconv.AppendUint([]byte(`,"offset":`), offset, 10))
	// Under the channel's lock here, which removing takes.
	s.hub.tasks.Go(func() {
		s.subsMu.Lock()
		if s.subs[sub.ch.name] == sub {
			delete(s.subs, sub.ch.name)
		}
		s.subsMu.Unlock()
		sub.ch.remove(sub)
	})
}

func (s *socket) broken(_ *subscription, err error) {
	if s.hub.ctx.Err() == nil {
		s.hub.log.Warn("socket closed: a channel could not be read", slog.Any("error", err))
	}
	s.finish(closeFrame(uint16(CloseSource), "the store could not be read, reconnect"), reasonSource)
}

// tell sends a message about a channel; rest are further members, each with a
// comma before it.
func (s *socket) tell(op, channel string, rest []byte) {
	b := append([]byte(`{"op":"`), op...)
	b = appendJSONString(append(b, `","channel":`...), channel)
	s.reply(append(append(b, rest...), '}'))
}

// problem sends an error, about a channel if one is named.
func (s *socket) problem(channel string, err error) {
	b := []byte(`{"op":"error"`)
	if channel != "" {
		b = appendJSONString(append(b, `,"channel":`...), channel)
	}
	b = append(append(b, `,"problem":`...), s.opts.Problem(err)...)
	s.reply(append(b, '}'))
}

func (s *socket) reply(payload []byte) { _ = s.write(textFrame(payload), false) }

// handshake lets websocket.Accept write its answer, and afterwards everything else
// that it has to say, through the outbox.
type handshake struct {
	socket *socket
	read   []byte
	header http.Header
	status int
}

func (w *handshake) Header() http.Header { return w.header }

func (w *handshake) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	head := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	head = append(append(head, ' '), http.StatusText(status)...)
	b := &headWriter{b: append(head, "\r\n"...)}
	if status != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close")
	}
	_ = w.header.Write(b) // a headWriter takes everything
	_ = w.socket.write(append(b.b, "\r\n"...), true)
}

func (w *handshake) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(b), w.socket.write(append([]byte(nil), b...), true)
}

// Hijack implements [http.Hijacker]. The buffers are small because every
// connection has them: the reader enters for commands only, and the writer holds one
// control frame (at most 127 bytes), so that each leaves in one write.
func (w *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn := outboxConn{Conn: w.socket.conn, o: &w.socket.outbox}
	br := bufio.NewReaderSize(io.MultiReader(newPrefix(w.read), conn), max(128, len(w.read)))
	if len(w.read) > 0 {
		if _, err := br.Peek(len(w.read)); err != nil {
			return nil, nil, err
		}
	}
	return conn, bufio.NewReadWriter(br, bufio.NewWriterSize(conn, 144)), nil
}

type headWriter struct{ b []byte }

func (w *headWriter) Write(b []byte) (int, error) {
	w.b = append(w.b, b...)
	return len(b), nil
}

// prefix reads bytes that were received before.
type prefix struct{ b []byte }

func newPrefix(b []byte) *prefix { return &prefix{b} }

func (p *prefix) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

// outboxConn is a connection whose writes go through its outbox.
type outboxConn struct {
	net.Conn
	o *outbox
}

func (c outboxConn) Write(b []byte) (int, error) {
	if err := c.o.write(append([]byte(nil), b...), false); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c outboxConn) Close() error {
	c.o.finish(nil, reasonGone)
	return nil
}
