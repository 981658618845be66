// Package attack shows what an honest caller notices of attacks on a gateway, and what memory they
// take. A gateway on a loopback address of this machine is attacked, and nothing else.
package attack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/loadtest/client"
	"github.com/hark-push/hark/loadtest/peer"
)

// Siege is an attack under way, in a process of its own: what it costs is not the gateway's, nor
// the honest caller's. It says "ready" when it is in place, goes on until its standard input ends,
// and says then what it met.
type Siege struct {
	Attack      string `arg:"" help:"Name of the attack."`
	Addr        string `required:"" help:"The gateway, on loopback."`
	Key         string `required:"" help:"Key of a client."`
	WorkKey     string `required:"" help:"Key of a processor."`
	Descriptors int    `required:"" help:"Open files that the gateway may have."`

	ctx   context.Context // ends with the attack
	ready func()          // it is in place
	busy  sync.WaitGroup

	mu  sync.Mutex
	met map[string]int // statuses of answers, and what else came of a call
}

// besieger is the address that attacks come from, which is none of an honest caller.
var besieger = net.IPv4(127, 0, 0, 66)

// Run attacks until there is no more input.
func (s *Siege) Run(in io.Reader, out io.Writer) error {
	host, _, err := net.SplitHostPort(s.Addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return errors.New("only a gateway on a loopback address of this machine is attacked")
	}
	at := attackNamed(s.Attack)
	if at == nil {
		return fmt.Errorf("there is no attack named %s", s.Attack)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s.ctx, s.met = ctx, make(map[string]int)
	s.ready = sync.OnceFunc(func() { _, _ = fmt.Fprintln(out, "ready") })
	if err := at.begin(s); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	stop()
	s.busy.Wait()
	s.ready() // as far as it has come
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.NewEncoder(out).Encode(s.met)
}

// meet counts what came of a call.
func (s *Siege) meet(what string) {
	if s.ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.met[what]++
}

// dial opens a connection that ends with the attack, if not before. It is reset, so that as many as
// there are ports can follow on each other.
func (s *Siege) dial() (*net.TCPConn, func(), error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: besieger}, Timeout: client.Timeout}
	c, err := dialer.DialContext(s.ctx, "tcp", s.Addr)
	if err != nil {
		s.meet("no connection")
		return nil, nil, err
	}
	conn, ok := c.(*net.TCPConn)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no TCP connection", c)
	}
	_ = conn.SetLinger(0)
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	return conn, func() { stop(); _ = conn.Close() }, nil
}

// comeBack is when a connection that was ended is opened again: at once would be another attack.
const comeBack = time.Second

// hold keeps n connections in place: whichever ends is opened again. It is ready when each has been
// opened once, or has failed to.
func (s *Siege) hold(n int, use func(conn *net.TCPConn) error) {
	var opened sync.WaitGroup
	opened.Add(n)
	gate := make(chan struct{}, 64) // as many come at a time
	for range n {
		s.busy.Go(func() {
			first := sync.OnceFunc(opened.Done)
			for s.ctx.Err() == nil {
				gate <- struct{}{}
				conn, done, err := s.dial()
				<-gate
				first()
				if err == nil {
					err = use(conn)
					done()
				}
				if err != nil && !errors.Is(err, io.EOF) && s.ctx.Err() == nil {
					s.meet("cut")
				}
				peer.Pause(s.ctx, comeBack)
			}
		})
	}
	s.busy.Go(func() {
		opened.Wait()
		s.ready()
	})
}

// flood has workers make calls, each as soon as the one before is answered.
func (s *Siege) flood(workers int, call func(c *client.Client) error) {
	for range workers {
		s.busy.Go(func() {
			c := client.New()
			c.From = besieger
			for s.ctx.Err() == nil {
				s.answered(call(c))
			}
			c.Rest()
		})
	}
	s.ready()
}

// answered counts how a call was answered. Who was not let in comes back after a moment.
func (s *Siege) answered(err error) {
	refused, ok := errors.AsType[*client.StatusError](err)
	switch {
	case err == nil:
		s.meet("served")
	case ok:
		s.meet(strconv.Itoa(refused.Status))
	default:
		s.meet("cut")
		peer.Pause(s.ctx, 50*time.Millisecond)
	}
}

// url is that of a path.
func (s *Siege) url(path string) string { return "http://" + s.Addr + path }

// call makes one call as the client that attacks.
func (s *Siege) call(c *client.Client, method, path, contentType string, body []byte, more ...string) error {
	return s.callAs(c, s.Key, method, path, contentType, body, more...)
}

func (s *Siege) callAs(c *client.Client, key, method, path, contentType string, body []byte, more ...string) error {
	headers := []string{"Authorization", "Bearer " + key, "Prefer", "respond-async"}
	if body != nil {
		headers = append(headers, "Content-Type", contentType, "Content-Length", strconv.Itoa(len(body)))
	}
	_, err := c.Do(method, s.url(path), body, append(headers, more...))
	return err
}

// head returns the head of a call by hand. key is "" for none.
func (s *Siege) head(method, path, key string, fields ...string) []byte {
	out := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, s.Addr)
	if key != "" {
		out = fmt.Appendf(out, "Authorization: Bearer %s\r\n", key)
	}
	for _, f := range fields {
		out = append(append(out, f...), "\r\n"...)
	}
	return append(out, "\r\n"...)
}

// hear reads what comes until the connection ends, and counts the status that it begins with.
func (s *Siege) hear(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 1024)
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if fields := strings.Fields(line); len(fields) > 1 {
		s.meet(fields[1])
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// prepared makes a request with a large result, and one that stays pending, and returns their ids.
func (s *Siege) prepared(size int) (large, pending string, err error) {
	c := client.New()
	c.From = besieger
	defer c.Rest()
	large, pending = "attack-large", "attack-pending"
	for _, id := range []string{large, pending} {
		body := fmt.Appendf(nil, `{"id":%q,"content":1}`, id)
		err = errors.Join(err, s.call(c, http.MethodPost, "/v1/requests", "application/json", body))
	}
	if size == 0 {
		return large, pending, err
	}
	return large, pending, errors.Join(err,
		s.callAs(c, s.WorkKey, http.MethodPost, "/v1/work/"+large+"/start", "", nil, "Content-Length", "0"),
		s.callAs(c, s.WorkKey, http.MethodPut, "/v1/work/"+large+"/result", "application/octet-stream", make([]byte, size)))
}
