package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// pipe sends the commands of many callers together: whatever waits when the answers to the last
// have come. It has one connection: with two, as store/redis has, less travels together, and
// everybody has more to do for each request.
type pipe struct {
	client *redis.Client
	calls  chan *call
}

// call is what a caller has to send.
type call struct {
	add  func(redis.Pipeliner)
	done chan error
}

const (
	atOnce  = 64 // callers whose commands are sent together
	channel = "floor"
)

func openRedis(url string) (*pipe, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.DB++ // which may be emptied
	o.Protocol = 2
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.DisableIdentity = true
	p := &pipe{client: redis.NewClient(o), calls: make(chan *call, atOnce)}
	go p.send()
	return p, nil
}

// step writes the record of a step, as state and as event, at first what was submitted too, in the
// end the result, and tells of it.
func (p *pipe) step(id string, step int) error {
	record := newRecord(id, step)
	c := &call{done: make(chan error, 1), add: func(pipeline redis.Pipeliner) {
		ctx := context.Background()
		switch step {
		case accepted:
			pipeline.Set(ctx, "r:"+id, record+padding[:inputBytes], 0)
		case succeeded:
			pipeline.Set(ctx, "o:"+id, padding[:resultBytes], 0)
			fallthrough
		default:
			pipeline.Set(ctx, "r:"+id, record, 0)
		}
		pipeline.XAdd(ctx, &redis.XAddArgs{Stream: "e:" + id, ID: strconv.Itoa(step+1) + "-0", Values: []any{"e", record}})
		pipeline.Publish(ctx, channel, record)
	}}
	p.calls <- c
	return <-c.done
}

// send sends what callers have to send, and tells them.
func (p *pipe) send() {
	var batch []*call
	for first := range p.calls {
		pipeline := p.client.Pipeline()
		batch = append(batch[:0], first)
		for waiting := true; waiting && len(batch) < atOnce; {
			select {
			case c := <-p.calls:
				batch = append(batch, c)
			default:
				waiting = false
			}
		}
		for _, c := range batch {
			c.add(pipeline)
		}
		_, err := pipeline.Exec(context.Background())
		for _, c := range batch {
			c.done <- err
		}
	}
}

// subscribe returns, once it hears what is published, what hands that on until it fails.
func (p *pipe) subscribe() (func(hear func(record string)) error, error) {
	ctx := context.Background()
	pubsub := p.client.Subscribe(ctx, channel)
	if _, err := pubsub.Receive(ctx); err != nil { // the confirmation
		return nil, err
	}
	return func(hear func(record string)) error {
		for {
			m, err := pubsub.ReceiveMessage(ctx)
			if err != nil {
				return err
			}
			hear(m.Payload)
		}
	}, nil
}

// tidy removes everything, from the append-only file too: else that would have to be rewritten
// earlier while the next one runs.
func (p *pipe) tidy(ctx context.Context) error {
	if err := p.client.FlushDB(ctx).Err(); err != nil {
		return err
	}
	if err := p.client.BgRewriteAOF(ctx).Err(); err != nil {
		return err
	}
	for {
		info, err := p.client.Info(ctx, "persistence").Result()
		if err != nil {
			return err
		}
		if strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0") {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("rewriting the append-only file: %w", ctx.Err())
		}
	}
}
