package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"

	coder "github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
)

// subprotocol is the one of Hark.
const subprotocol = "hark.v1"

// message reports a message of the gateway under the name of what it says, its member op.
func (f *follower) message(data []byte) {
	var m struct {
		Op string `json:"op"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		f.failed(err)
		return
	}
	f.event(m.Op, string(data), "")
}

func coderSocket(ctx context.Context, f *follower) {
	conn, response, err := coder.Dial(ctx, f.url, &coder.DialOptions{Subprotocols: []string{subprotocol}})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		f.closed(-1, err)
		return
	}
	defer func() { _ = conn.CloseNow() }()
	f.open()
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			f.closed(int(coder.CloseStatus(err)), err)
			return
		}
		f.message(data)
	}
}

func gorillaSocket(ctx context.Context, f *follower) {
	dialer := gorilla.Dialer{Subprotocols: []string{subprotocol}}
	conn, response, err := dialer.DialContext(ctx, f.url, nil)
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		f.closed(-1, err)
		return
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	f.open()
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			code := -1
			if closed, ok := errors.AsType[*gorilla.CloseError](err); ok {
				code = closed.Code
			}
			f.closed(code, err)
			return
		}
		f.message(data)
	}
}

func gwsSocket(ctx context.Context, f *follower) {
	conn, response, err := gws.NewClient(&gwsHandler{f: f}, &gws.ClientOption{
		Addr: f.url, RequestHeader: http.Header{"Sec-WebSocket-Protocol": {subprotocol}},
	})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		f.closed(-1, err)
		return
	}
	context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() })
	conn.ReadLoop()
}

// gwsHandler is what gws calls.
type gwsHandler struct {
	gws.BuiltinEventHandler
	f *follower
}

func (h *gwsHandler) OnOpen(*gws.Conn) { h.f.open() }

func (h *gwsHandler) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	h.f.message(message.Bytes())
}

func (h *gwsHandler) OnClose(_ *gws.Conn, err error) {
	code := -1
	if closed, ok := errors.AsType[*gws.CloseError](err); ok {
		code = int(closed.Code)
	}
	h.f.closed(code, err)
}

func gobwasSocket(ctx context.Context, f *follower) {
	dialer := gobwas.Dialer{Protocols: []string{subprotocol}}
	conn, buffered, _, err := dialer.Dial(ctx, f.url)
	if err != nil {
		f.closed(-1, err)
		return
	}
	defer func() { _ = conn.Close() }()
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	f.open()
	from := io.ReadWriter(conn)
	if buffered != nil { // the server's first frames came with its handshake
		from = rest{buffered, conn}
	}
	for {
		data, err := wsutil.ReadServerText(from)
		if err != nil {
			code := -1
			if closed, ok := errors.AsType[wsutil.ClosedError](err); ok {
				code = int(closed.Code)
			}
			f.closed(code, err)
			return
		}
		f.message(data)
	}
}

// rest reads what a handshake left in its reader before what comes behind it.
type rest struct {
	io.Reader
	net.Conn
}

func (r rest) Read(p []byte) (int, error) { return r.Reader.Read(p) }
