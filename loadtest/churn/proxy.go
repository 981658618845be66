package churn

import (
	"io"
	"net"
	"sync"
	"time"
)

// proxy passes the bytes of connections on, until it is told to cut some.
type proxy struct {
	addr     string
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	links  map[int][2]net.Conn // by number, in the order of a map: cut takes any
	last   int
	closed bool
}

// bufferBytes is what the kernel is asked to keep of each direction.
const bufferBytes = 16 << 10

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), target: target, listener: l, links: make(map[int][2]net.Conn)}
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.pass(conn) })
		}
	})
	return p, nil
}

// pass passes bytes on in both directions until either end closes.
func (p *proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	// What a follower does not read is soon to wait in the gateway.
	for _, conn := range []net.Conn{client, server} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_, _ = tcp.SetReadBuffer(bufferBytes), tcp.SetWriteBuffer(bufferBytes)
		}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.last++
	number := p.last
	p.links[number] = [2]net.Conn{client, server}
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = way[0].Close(), way[1].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, number)
}

// cut closes so many connections at most, and returns how many there were.
func (p *proxy) cut(most int) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, link := range p.links {
		if n == most {
			break
		}
		_, _ = link[0].Close(), link[1].Close()
		n++
	}
	return n
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.cut(1 << 30)
	p.running.Wait()
}
