package servertest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Flow is the direction of bytes through a [Proxy].
type Flow int

// The two directions; both are ToServer|ToClient.
const (
	ToServer Flow = 1 << iota
	ToClient
)

// ProxyServer is a TCP proxy with faults. Its methods may be called concurrently.
type ProxyServer struct {
	Addr string // host:port that clients connect to

	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string
	links   map[*link]struct{}
	drops   Flow // for new connections
	refuses bool
	delay   time.Duration
	closed  bool
}

// link is one connection through the proxy. The proxy's lock guards drops.
type link struct {
	client, server net.Conn
	drops          Flow
}

// Proxy starts a proxy in front of target (host:port) that ends with the test.
func Proxy(t testing.TB, target string) *ProxyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &ProxyServer{Addr: l.Addr().String(), target: target, listener: l, links: make(map[*link]struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		_ = l.Close()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Cut closes every connection. New ones are still accepted.
func (p *ProxyServer) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_ = l.client.Close()
		_ = l.server.Close()
	}
}

// Retarget leads new connections to another server and closes those there are.
func (p *ProxyServer) Retarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Cut()
}

// Refuse closes new connections at once, until Restore.
func (p *ProxyServer) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
}

// Drop swallows the bytes of a direction on all connections, also on new ones until
// Restore: they look open and nothing arrives. A connection that has lost bytes stays
// so for good.
func (p *ProxyServer) Drop(f Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops |= f
	for l := range p.links {
		l.drops |= f
	}
}

// Delay holds back what arrives from now on, in both directions.
func (p *ProxyServer) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Restore lets new connections pass unharmed.
func (p *ProxyServer) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops, p.delay, p.refuses = 0, 0, false
}

// Connections returns how many connections are open.
func (p *ProxyServer) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *ProxyServer) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *ProxyServer) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	l := &link{client: client, server: server}
	p.mu.Lock()
	if p.refuses || p.closed {
		p.mu.Unlock()
		return
	}
	l.drops = p.drops
	p.links[l] = struct{}{}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.pump(l, ToServer, server, client) })
	both.Go(func() { p.pump(l, ToClient, client, server) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pump carries the bytes of one direction until either end closes.
func (p *ProxyServer) pump(l *link, f Flow, to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		delay := p.delay
		p.mu.Unlock()
		if n > 0 && delay > 0 {
			time.Sleep(delay)
		}
		p.mu.Lock()
		drop := l.drops&f != 0
		p.mu.Unlock()
		if n > 0 && !drop {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
