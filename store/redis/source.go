package redis

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// Read implements lifecycle.Source.
func (s *Store) Read(ctx context.Context, channel string, after uint64, limit int) (_ lifecycle.History, err error) {
	defer lifecycle.Told(s.options.Calls, lifecycle.OpHistory, time.Now(), &err)
	return s.history(ctx, channel, after, limit)
}

// history is Read for a call that has been counted, or is none.
func (s *Store) history(ctx context.Context, channel string, after uint64, limit int) (lifecycle.History, error) {
	if n, ok := stream.ParseKey(channel); ok {
		if err := ctx.Err(); err != nil {
			return lifecycle.History{}, err
		}
		return s.readChannel(ctx, n, after, limit)
	}
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return lifecycle.History{}, err
	}
	if err := ctx.Err(); err != nil {
		return lifecycle.History{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	partition, stream := s.home(c)
	answer, err := s.run(bound, scripts.read, partition, stream, strconv.FormatUint(after, 10), limit, lifecycle.PageBytes)
	if err != nil {
		return lifecycle.History{}, failed(ctx, err)
	}
	var h lifecycle.History
	if h.Top, err = offsetOf(answer.Text(0)); err != nil {
		return lifecycle.History{}, failed(ctx, err)
	}
	h.Ended = answer.Text(1) == "1"
	if h.Begin, err = offsetOf(answer.Text(2)); err != nil {
		return lifecycle.History{}, failed(ctx, err)
	}
	events := make([]event, 0, len(answer)/2)
	for i := 3; i+1 < len(answer); i += 2 {
		e, err := channelEvent(c, answer.Text(i), answer.Text(i+1))
		if err != nil {
			if e.Event, err = s.lost(ctx, c, e.offset, err); err != nil {
				return lifecycle.History{}, failed(ctx, err)
			}
		}
		events = append(events, e)
	}
	if c.Feed() && limit > 0 {
		if err := s.told(bound, c, events); err != nil {
			return lifecycle.History{}, failed(ctx, err)
		}
	}
	s.noteRead(c, h.Top, events)
	if limit <= 0 { // the newest came to be noted
		return h, nil
	}
	for _, e := range events {
		e.last = e.last && h.Ended && e.offset == h.Top // else it was redriven
		h.Messages = append(h.Messages, e.message())
	}
	return h, nil
}

// told puts what tells of nothing in the place of events of a feed whose requests are forgotten,
// those also that are there: forgetting finds neither what is in another partition nor what has
// left the channel of its request before.
func (s *Store) told(ctx context.Context, c lifecycle.Channel, events []event) error {
	asked := make(map[lifecycle.Ref]*goredis.IntCmd)
	for _, e := range events {
		if e.Request.ID != "" {
			asked[e.Request] = nil
		}
	}
	if len(asked) == 0 {
		return nil
	}
	add := func(p goredis.Pipeliner) {
		for of := range asked { // what was submitted is there as long as the request
			asked[of] = p.Exists(ctx, s.tags[s.partition(of.ID)]+"i:"+of.String())
		}
	}
	if err := s.client.Send(ctx, add); err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		if e.Request.ID == "" {
			continue
		}
		there, err := asked[e.Request].Result()
		if err != nil {
			return err
		}
		if there == 0 {
			e.Event = lifecycle.Forgotten(c, e.offset)
		}
	}
	return nil
}

// lost returns what is told in the place of an event that is damaged.
func (s *Store) lost(ctx context.Context, c lifecycle.Channel, offset uint64, err error) (*lifecycle.Event, error) {
	if offset == 0 {
		return nil, err
	}
	_ = s.damaged("", "event "+strconv.FormatUint(offset, 10)+" of "+c.Key(), err)
	if c.Feed() {
		return lifecycle.FeedReset(c, offset), nil
	}
	r, err := s.get(ctx, c.Ref())
	if err != nil {
		return nil, err
	}
	return lifecycle.NewEvent(&r, lifecycle.EventReset), nil
}

// channelEvent reads an event as it is stored in a channel, where it has an id. In a feed it is ""
// when its request is forgotten.
func channelEvent(c lifecycle.Channel, id, value string) (event, error) {
	offset, err := offsetOf(id)
	if err != nil {
		return event{}, err
	}
	if value == "" && c.Feed() {
		return event{Event: lifecycle.Forgotten(c, offset), offset: offset}, nil
	}
	e, err := decodeEvent(value)
	e.offset, e.last = offset, e.last && !c.Feed()
	return e, err
}

// home is the partition of a channel and the end of the name of its stream.
func (s *Store) home(c lifecycle.Channel) (partition int, stream string) {
	if c.Feed() {
		return s.partition(c.Key()), "g:" + c.Key()
	}
	return s.partition(c.Name), "h:" + c.Ref().String()
}

// offsetOf reads "17" and "17-0".
func offsetOf(id string) (uint64, error) {
	number, _, _ := strings.Cut(id, "-")
	return strconv.ParseUint(number, 10, 64)
}

// Reset implements lifecycle.Source. The channel of an unknown request is
// lifecycle.ErrNotFound.
func (s *Store) Reset(ctx context.Context, channel string) (lifecycle.Message, error) {
	if n, ok := stream.ParseKey(channel); ok {
		return s.resetChannel(ctx, n)
	}
	c, err := lifecycle.ParseKey(channel)
	if err != nil {
		return lifecycle.Message{}, err
	}
	if c.Feed() {
		history, err := s.history(ctx, channel, math.MaxInt64, 0)
		if err != nil {
			return lifecycle.Message{}, err
		}
		return event{Event: lifecycle.FeedReset(c, history.Top), offset: history.Top}.message(), nil
	}
	r, err := s.get(ctx, c.Ref())
	if err != nil {
		return lifecycle.Message{}, err
	}
	return event{Event: lifecycle.NewEvent(&r, lifecycle.EventReset), offset: r.Sequence, last: r.Status.Terminal()}.message(), nil
}
