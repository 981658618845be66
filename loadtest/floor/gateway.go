package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/valyala/fasthttp"
)

// queue is where the ids of requests wait.
const queue = "floor"

// gateway takes requests and pushes events.
type gateway struct {
	redis *pipe
	queue *amqp.Channel

	mu      sync.Mutex
	streams map[string]net.Conn // by topic
}

func (g *gateway) start(addr string) error {
	g.streams = make(map[string]net.Conn)
	// As the queue of a route is in Hark.
	if _, err := g.queue.QueueDeclare(queue, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg:        amqp.QueueTypeQuorum,
		"x-delivery-limit":       int64(20),
		"x-dead-letter-exchange": "floor.dead",
		"x-dead-letter-strategy": "at-least-once",
		amqp.QueueOverflowArg:    amqp.QueueOverflowRejectPublish,
	}); err != nil {
		return err
	}
	if err := g.queue.Confirm(false); err != nil {
		return err
	}
	heard, err := g.redis.subscribe()
	if err != nil {
		return err
	}
	go func() { check(heard(g.push)) }()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &fasthttp.Server{Handler: g.serve, KeepHijackedConns: true, NoDefaultServerHeader: true, NoDefaultDate: true}
	go func() { check(server.Serve(l)) }()
	return nil
}

func (g *gateway) serve(c *fasthttp.RequestCtx) {
	if !c.IsPost() {
		g.follow(c)
		return
	}
	id := between(c.PostBody(), `"id":"`, `"`)
	check(g.redis.step(id, accepted))
	check(g.enqueue(id))
	c.Response.Header.Set("Location", "/v1/requests/"+id)
	c.SetStatusCode(http.StatusAccepted)
}

// enqueue returns when RabbitMQ has the id.
func (g *gateway) enqueue(id string) error {
	confirmed, err := g.queue.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(id)})
	if err != nil {
		return err
	}
	if !confirmed.Wait() {
		return errors.New("RabbitMQ refused " + id)
	}
	return nil
}

// follow makes a connection the stream of a topic.
func (g *gateway) follow(c *fasthttp.RequestCtx) {
	topic := between(c.Path(), "/topics/", "/")
	c.HijackSetNoResponse(true)
	c.Hijack(func(conn net.Conn) {
		if under, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
			conn = under.UnsafeConn()
		}
		check(conn.SetDeadline(time.Time{}))
		g.mu.Lock()
		g.streams[topic] = conn
		g.mu.Unlock()
		// Whoever has read this is among the followers.
		_, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"))
		check(err)
	})
}

// push writes an event to who follows its topic. That the follower has gone is no failure of the gateway's.
func (g *gateway) push(event string) {
	topic := topicOf(event)
	g.mu.Lock()
	conn := g.streams[topic]
	g.mu.Unlock()
	if conn == nil {
		return
	}
	block := make([]byte, 0, len(event)+len("data: \n\n"))
	block = append(append(append(block, "data: "...), event...), "\n\n"...)
	if _, err := conn.Write(block); err != nil {
		g.mu.Lock()
		delete(g.streams, topic)
		g.mu.Unlock()
	}
}

// tidy leaves the servers to the next as they were.
func (g *gateway) tidy() error {
	_, err := g.queue.QueueDelete(queue, false, false, false)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(err, g.redis.tidy(ctx))
}

// between returns what is between two marks, and "" if the first is not there.
func between(text []byte, before, behind string) string {
	_, rest, _ := bytes.Cut(text, []byte(before))
	found, _, _ := bytes.Cut(rest, []byte(behind))
	return string(found)
}

// topicOf returns the topic of an event, which begins with the id of its request and that with the topic: so the
// worker, which has only the id, need not look it up.
func topicOf(event string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(event, eventBegin), "/")
	return id[:max(0, strings.LastIndexByte(id, '-'))]
}

// steps of a request.
const (
	accepted = iota
	started
	succeeded
)

// steps says what is written at each step, in bytes as many as Hark writes in this scene. The first record has what was submitted in it.
var steps = []struct {
	kind          string
	event, record int
}{
	accepted:  {"request.accepted", 949, 644},
	started:   {"request.started", 975, 505},
	succeeded: {"request.succeeded", 1174, 774},
}

// resultBytes is the length of a result, likewise.
const resultBytes = 184

const eventBegin = `{"id":"`

// newEvent returns the event of a step. It is at least as long as it has to be.
func newEvent(id string, step int) []byte {
	s := &steps[step]
	const end = `"}`
	event := fmt.Appendf(make([]byte, 0, s.event), eventBegin+`%s/%d","type":"%s","data":"`, id, step+1, s.kind)
	event = append(event, padding[:max(0, s.event-len(event)-len(end))]...)
	return append(event, end...)
}

var padding = strings.Repeat("x", 2048)
