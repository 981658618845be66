// Command queue is a processor that consumes a queue of RabbitMQ which is its own, and tells Hark
// over HTTP what becomes of the work. It counts the words of texts. A gateway hands it the work of
// a route:
//
//	AMQP_URL=amqp://guest:guest@127.0.0.1:5672/ go run ./examples/queue --declare
//	gateway --redis … --amqp … --routes default,words --route-queue words=legacy.words
//	AMQP_URL=… HARK_URL=http://127.0.0.1:8080 go run ./examples/queue
//
//	curl http://127.0.0.1:8080/v1/requests -H 'Content-Type: application/json' \
//	     -d '{"route":"words","content":{"text":"to be or not to be"}}'
//
// HARK_KEY is the API key, if the gateway wants one: of the role processor.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// job is what stands in the queue: that a request waits. Its content is with Hark.
type job struct {
	ID       string `json:"id"`
	Life     string `json:"life"`
	Sequence uint64 `json:"sequence"`
	Message  string `json:"message"`
}

// work is an attempt that has begun.
type work struct {
	Attempt int             `json:"attempt"`
	Life    string          `json:"life"`
	Content json.RawMessage `json:"content"`
}

// count is the work.
func count(content json.RawMessage) (map[string]int, error) {
	var in struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(content, &in) != nil || in.Text == "" {
		return nil, errors.New("this route takes JSON with a text")
	}
	return map[string]int{"words": len(strings.Fields(in.Text))}, nil
}

// errNotNeeded: the work was done, canceled or begun by another message. So it is with a copy,
// which may come at any time.
var errNotNeeded = errors.New("nobody needs this attempt")

type gateway struct{ base, key string }

// call makes a call and reads its answer into what answer points to, unless it is nil.
func (g gateway) call(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, g.base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if g.key != "" {
		r.Header.Set("Authorization", "Bearer "+g.key)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusConflict:
		return errNotNeeded
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// do works on what a message stands for. The message is acknowledged when that has returned nil: a
// processor that dies before leaves it to the next one, which begins anew.
func (g gateway) do(ctx context.Context, d *amqp.Delivery) error {
	var j job
	_ = json.Unmarshal(d.Body, &j) // what is none has no id
	if j.ID == "" {
		log.Printf("a message that is no job of Hark is dropped: %s", d.Body)
		return nil
	}
	path := "/v1/work/" + url.PathEscape(j.ID)
	start := url.Values{"life": {cmp.Or(j.Life, "none")}}
	if j.Message != "" {
		start.Set("message", j.Message)
	}
	if j.Sequence > 0 {
		start.Set("sequence", strconv.FormatUint(j.Sequence, 10))
	}
	if again, _ := d.Headers["hark-redelivered"].(bool); d.Redelivered || again {
		start.Set("redelivered", "true") // whoever had it before is gone
	}
	var w work
	err := g.call(ctx, http.MethodPost, path+"/start?"+start.Encode(), nil, &w)
	if err != nil {
		return err
	}
	fence := fmt.Sprintf("?attempt=%d&life=%s", w.Attempt, url.QueryEscape(w.Life))
	result, err := count(w.Content)
	if err != nil {
		return g.call(ctx, http.MethodPut, path+"/error"+fence, map[string]any{"code": "bad-content", "message": err.Error()}, nil)
	}
	return g.call(ctx, http.MethodPut, path+"/result"+fence, result, nil)
}

// consume works on what comes until ctx ends or the connection does, and ends with what it has
// begun.
func (g gateway) consume(ctx context.Context, server, queue string) error {
	conn, err := amqp.Dial(server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(8, 0, false); err != nil {
		return err
	}
	came, err := ch.Consume(queue, "words", false, false, false, false, nil)
	if err != nil {
		return err
	}
	fmt.Println("queue: consuming", queue)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-came:
			if !ok {
				return errors.New("the connection to RabbitMQ was lost")
			}
			running.Go(func() {
				err := g.do(context.WithoutCancel(ctx), &d)
				if err == nil || errors.Is(err, errNotNeeded) {
					_ = d.Ack(false) // if that is lost it comes again, and needs nobody then
					return
				}
				log.Print(err)
				select {
				case <-time.After(time.Second): // the gateway is away, or its store
				case <-ctx.Done():
				}
				_ = d.Nack(false, true)
			})
		}
	}
}

// declare makes the queue, as its owner did long ago.
func declare(server, queue string) error {
	conn, err := amqp.Dial(server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDeclare(queue, true, false, false, false, nil)
	return err
}

func main() {
	queue := flag.String("queue", "legacy.words", "name of the queue")
	only := flag.Bool("declare", false, "declare the queue and end")
	flag.Parse()
	server := cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@127.0.0.1:5672/")
	if *only {
		if err := declare(server, *queue); err != nil {
			log.Fatal(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := gateway{cmp.Or(os.Getenv("HARK_URL"), "http://127.0.0.1:8080"), os.Getenv("HARK_KEY")}
	for ctx.Err() == nil {
		if err := g.consume(ctx, server, *queue); err != nil {
			log.Print(err)
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
		}
	}
}
