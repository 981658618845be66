package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/lifecycle"
)

// lobby answers calls while the gateway cannot yet: it waits for a server without which there is
// nothing to say. The listener is only borrowed: whatever is not accepted by then is the gateway's.
type lobby struct {
	listener net.Listener
	tcp      *net.TCPListener // beneath it, maybe the same
	shared   bool             // others have the store, which may come later
	log      *slog.Logger

	once   sync.Once
	server *http.Server // nil: not opened
	door   *borrowed
	served chan struct{}          // closed when it accepts no more
	left   chan struct{}          // closed when all connections are; nil: leave was not called
	hurry  func()                 // ends the patience with them
	detail atomic.Pointer[string] // what is waited for
}

// waitsForRedis is what callers are told meanwhile.
const waitsForRedis = "The gateway is starting, and waits for Redis (--redis, HARK_REDIS), which cannot be reached. It serves nothing until then; its log says more."

// wait says what is waited for, and opens the lobby if it is not open.
func (l *lobby) wait(detail string) {
	l.detail.Store(&detail)
	l.once.Do(func() {
		l.log.Info("waiting for a server; until it comes /health/live is answered with 200 and all else with 503", slog.String("address", l.listener.Addr().String()))
		l.server = &http.Server{Handler: api.Starting(func() string { return *l.detail.Load() }), ReadTimeout: lobbyWait}
		l.server.SetKeepAlivesEnabled(false) // the next call may be the gateway's
		l.served = make(chan struct{})
		l.door = &borrowed{Listener: l.listener, tcp: l.tcp}
		go func() {
			defer close(l.served)
			_ = l.server.Serve(l.door)
		}()
	})
}

// until tries something that needs the store until that can be reached, or ctx ends.
func (l *lobby) until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !l.shared || !errors.Is(err, lifecycle.ErrUnavailable) {
			return err
		}
		l.log.Warn("the store cannot be used yet; it is tried again until it can", slog.Any("error", err))
		l.wait(waitsForRedis)
		again := time.NewTimer(time.Second)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		}
	}
}

// leave gives the listener back. Connections that have been accepted before, and on which nothing
// was asked yet, are still answered here, or closed after some seconds, as idle ones are anywhere;
// end waits for that.
func (l *lobby) leave() {
	l.once.Do(func() {}) // it does not open any more
	if l.server == nil || l.left != nil {
		return
	}
	_ = l.door.Close()
	<-l.served
	_ = l.tcp.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(context.Background(), lobbyTime)
	l.hurry, l.left = cancel, make(chan struct{})
	go func() {
		defer close(l.left)
		defer cancel()
		<-ctx.Done()
		// Shutdown would drop at once what is about to be asked on new connections.
		_ = l.server.Close()
	}()
}

// How long connections may last that the gateway did not get, and wait for a call.
const (
	lobbyTime = 20 * time.Second
	lobbyWait = 10 * time.Second
)

// end closes all that is left, and returns when it is.
func (l *lobby) end() {
	l.leave()
	if l.left != nil {
		l.hurry()
		<-l.left
	}
}

// borrowed is a listener that Close takes away from whoever accepts, but leaves open.
type borrowed struct {
	net.Listener
	tcp    *net.TCPListener
	closed atomic.Bool
}

func (b *borrowed) Accept() (net.Conn, error) {
	for !b.closed.Load() {
		c, err := b.Listener.Accept()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			continue // Close has set a deadline that is past
		}
		return c, err
	}
	return nil, net.ErrClosed
}

func (b *borrowed) Close() error {
	b.closed.Store(true)
	return b.tcp.SetDeadline(time.Unix(1, 0))
}
