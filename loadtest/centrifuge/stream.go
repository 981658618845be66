package main

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/centrifugal/centrifuge"
)

// streams serves unidirectional server-sent events, which Centrifugo adds to the library.
type streams struct {
	node *centrifuge.Node
}

func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var connect struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(r.URL.Query().Get("cf_connect")), &connect); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	t := &transport{messages: make(chan [][]byte), written: make(chan struct{}), ended: make(chan struct{}), left: make(chan struct{})}
	client, closeClient, err := centrifuge.NewClient(r.Context(), s.node, t)
	if err != nil {
		return
	}
	defer func() { _ = closeClient() }()
	defer close(t.left) // before the client is closed, which waits for it
	for name, value := range map[string]string{
		"Connection": "keep-alive", "X-Accel-Buffering": "no", "Content-Type": "text/event-stream; charset=utf-8",
		"Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0", "Pragma": "no-cache", "Expire": "0",
	} {
		w.Header().Set(name, value)
	}
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	client.Connect(centrifuge.ConnectRequest{Token: connect.Token})
	for {
		select {
		case <-r.Context().Done():
			return
		case <-t.ended:
			return
		case messages := <-t.messages:
			for _, message := range messages {
				if _, err := w.Write(append(append([]byte("data: "), message...), "\n\n"...)); err != nil {
					return
				}
			}
			if out.Flush() != nil {
				return
			}
			t.written <- struct{}{}
		}
	}
}

// transport hands messages from the client's writer to the handler of its stream.
type transport struct {
	messages chan [][]byte
	written  chan struct{} // the writer may use their memory again
	ended    chan struct{} // by the server
	left     chan struct{} // the handler has returned
	end      sync.Once
}

func (t *transport) Name() string                      { return "uni_sse" }
func (t *transport) AcceptProtocol() string            { return "h1" }
func (t *transport) Protocol() centrifuge.ProtocolType { return centrifuge.ProtocolTypeJSON }
func (t *transport) Unidirectional() bool              { return true }
func (t *transport) Emulation() bool                   { return false }
func (t *transport) DisabledPushFlags() uint64         { return 0 }

func (t *transport) ProtocolVersion() centrifuge.ProtocolVersion {
	return centrifuge.ProtocolVersion2
}

func (t *transport) PingPongConfig() centrifuge.PingPongConfig {
	return centrifuge.PingPongConfig{}
}

func (t *transport) Write(message []byte) error { return t.WriteMany(message) }

func (t *transport) WriteMany(messages ...[]byte) error {
	select {
	case t.messages <- messages:
	case <-t.ended:
		return nil
	case <-t.left:
		return nil
	}
	select {
	case <-t.written:
	case <-t.left:
	}
	return nil
}

func (t *transport) Close(centrifuge.Disconnect) error {
	t.end.Do(func() { close(t.ended) })
	return nil
}
