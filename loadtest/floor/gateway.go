package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
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

// push makes the event of a record and writes it to who follows its topic. That the follower has
// gone is no failure of the gateway's.
func (g *gateway) push(record string) {
	id, step, ok := readRecord(record)
	if !ok {
		check(fmt.Errorf("%.80q is no record", record))
	}
	topic := topicOf(id)
	g.mu.Lock()
	conn := g.streams[topic]
	g.mu.Unlock()
	if conn == nil {
		return
	}
	block := make([]byte, 0, steps[step].event+len("data: \n\n"))
	block = append(appendEvent(append(block, "data: "...), id, step), "\n\n"...)
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

// topicOf returns the topic of a request, with which its id begins: so the worker, which has only
// the id, need not look it up.
func topicOf(id string) string { return id[:max(0, strings.LastIndexByte(id, '-'))] }

// steps of a request.
const (
	accepted = iota
	started
	succeeded
)

// steps says how long the record is that is kept of each step, and the event that is pushed: as
// long as Hark's in this scene.
var steps = []struct {
	kind          string
	record, event int
}{
	accepted:  {"request.accepted", 215, 949},
	started:   {"request.started", 223, 975},
	succeeded: {"request.succeeded", 434, 1174},
}

// inputBytes and resultBytes are the lengths of what was submitted and of a result, likewise.
const (
	inputBytes  = 184
	resultBytes = 184
)

// newRecord returns what is kept of a step, which is all that its event needs. It is at least as
// long as it has to be.
func newRecord(id string, step int) string {
	record := id + "/" + strconv.Itoa(step) + "/"
	return record + padding[:max(0, steps[step].record-len(record))]
}

func readRecord(record string) (id string, step int, ok bool) {
	id, rest, _ := strings.Cut(record, "/")
	number, _, ok := strings.Cut(rest, "/")
	step, err := strconv.Atoi(number)
	return id, step, ok && err == nil && step >= 0 && step < len(steps)
}

// appendEvent appends the event of a step. It is at least as long as it has to be.
func appendEvent(dst []byte, id string, step int) []byte {
	s, begin := &steps[step], len(dst)
	const end = `"}`
	dst = fmt.Appendf(dst, `{"id":"%s/%d","type":"%s","data":"`, id, step+1, s.kind)
	dst = append(dst, padding[:max(0, s.event-(len(dst)-begin)-len(end))]...)
	return append(dst, end...)
}

var padding = strings.Repeat("x", 2048)
