package redis

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/webhook/dispatch"
)

var _ transfer.Source = (*Store)(nil)

// exportPage is how much is read at a time: members of a set, events of a channel.
const exportPage = 256

// Export implements transfer.Source. It is a snapshot only while nobody changes anything. It needs
// memory for the names of owners, feeds, endpoints, streams and keys.
func (s *Store) Export(emit func(transfer.Line) error, skip func(error)) error {
	e := exporter{s: s, ctx: context.Background(), emit: emit, skip: skip}
	for _, kind := range []struct {
		pattern string
		each    func(partition int, key, name string) error
	}{
		{"own:", e.requests}, {"k:", e.key}, {"t:", e.feed}, {"w:e:", e.endpoint}, {"y:", e.stream}, {"floor", e.floor}, {"w:kept:", e.kept},
	} {
		for partition, tag := range s.tags {
			names, err := s.client.Names(e.ctx, tag+kind.pattern)
			if err != nil {
				return failed(e.ctx, err)
			}
			for _, name := range names {
				if err := kind.each(partition, tag+kind.pattern+name, name); err != nil {
					return failed(e.ctx, err)
				}
			}
		}
	}
	if e.highest > 0 {
		return e.emit(transfer.Line{Kind: transfer.Floor, Offset: e.highest})
	}
	return nil
}

type exporter struct {
	s    *Store
	ctx  context.Context
	emit func(transfer.Line) error
	skip func(error)

	highest uint64          // offset that a feed had which is gone
	streams map[string]bool // those that were looked at, by key: whether they are whole
}

func (e *exporter) floor(_ int, key, _ string) error {
	n, err := e.s.client.Get(e.ctx, key).Uint64()
	e.highest = max(e.highest, n)
	return err
}

// lost is called with what cannot be read.
func (e *exporter) lost(err error) error {
	if e.skip == nil {
		return err
	}
	e.skip(err)
	return nil
}

func (e *exporter) requests(partition int, key, _ string) error {
	for from := int64(0); ; from += exportPage {
		page, err := e.s.client.ZRangeWithScores(e.ctx, key, from, from+exportPage-1).Result()
		if err != nil {
			return err
		}
		for _, z := range page {
			entry, _ := z.Member.(string)
			id, _, _ := strings.Cut(entry, "\x00")
			if err := e.request(partition, id); err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			return nil
		}
	}
}

func (e *exporter) request(partition int, id string) error {
	tag := e.s.tags[partition]
	value, err := e.s.client.Get(e.ctx, tag+"r:"+id).Result()
	if errors.Is(err, goredis.Nil) {
		return nil // Redis has dropped it, and nobody has tidied up yet
	}
	if err != nil {
		return err
	}
	r, err := e.s.record(id, value)
	if err != nil {
		return e.lost(err)
	}
	serial, err := strconv.ParseUint(r.serial, 10, 64)
	l := transfer.Line{Kind: transfer.Request, Request: (*transfer.Record)(&r.Request), Serial: serial}
	if err == nil && r.Status == lifecycle.Pending {
		l.Ticket, err = strconv.ParseUint(r.ticket, 10, 64)
	}
	if err != nil {
		return e.lost(e.s.damaged(id, "the record", err))
	}
	if err := e.emit(l); err != nil {
		return err
	}
	for _, part := range []struct {
		lifecycle.Part
		name string
	}{{lifecycle.Input, transfer.Input}, {lifecycle.Output, transfer.Output}, {lifecycle.Answers, transfer.Answers}} {
		if part.Part == lifecycle.Output && r.Result == nil || part.Part == lifecycle.Answers && r.AnswersSize == 0 {
			continue
		}
		c, err := e.s.Content(e.ctx, r.Ref(), part.Part)
		if errors.Is(err, lifecycle.ErrNotFound) {
			err = e.s.damaged(id, partName(part.Part), errors.New("it is gone"))
		}
		if err != nil {
			if err := e.lost(err); err != nil {
				return err
			}
			continue
		}
		if err := e.emit(transfer.Line{Kind: transfer.Content, Part: part.name, Type: c.Type, Data: c.Data}); err != nil {
			return err
		}
	}
	return e.events(transfer.Event, r.Channel())
}

// events writes those of a channel.
func (e *exporter) events(kind transfer.Kind, c lifecycle.Channel) error {
	for after := uint64(0); ; {
		h, err := e.s.Read(e.ctx, c.Key(), after, exportPage)
		if err != nil {
			return err
		}
		for _, m := range h.Messages {
			after = m.Offset
			line := transfer.Line{Kind: kind, Offset: m.Offset, Told: m.Event}
			switch m.Event.Type {
			case lifecycle.EventReset, lifecycle.EventFeedReset:
				// It is in the place of one that is damaged, which was told.
				if err := e.lost(&lifecycle.DamageError{What: fmt.Sprintf("event %d of %s", m.Offset, c.Key()), Err: errDamaged}); err != nil {
					return err
				}
				continue
			case lifecycle.EventForgotten:
				line.Told = nil
			}
			if err := e.emit(line); err != nil {
				return err
			}
		}
		if len(h.Messages) == 0 || after >= h.Top {
			return nil
		}
	}
}

func (e *exporter) key(_ int, key, name string) error {
	sum, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return e.lost(e.s.damaged("", "the name of an idempotency key", err))
	}
	fields, err := e.s.client.HMGet(e.ctx, key, "r", "f", "l", "t", "y", "v").Result()
	if err != nil {
		return err
	}
	k := decodeKey(fields)
	if k == nil {
		return nil
	}
	return e.emit(transfer.Line{
		Kind: transfer.Key, Digest: sum, ID: k.Request.ID, Life: k.Request.Life, Fingerprint: []byte(k.Fingerprint), Locked: k.LockedUntil.UTC(), Reply: k.Reply,
	})
}

func (e *exporter) feed(_ int, key, name string) error {
	c, err := lifecycle.ParseKey(name)
	if err != nil {
		return e.lost(e.s.damaged("", "the name of a feed", err))
	}
	top, err := e.s.client.Get(e.ctx, key).Uint64()
	if err != nil {
		return err
	}
	h, err := e.s.Read(e.ctx, name, 0, 0)
	if err != nil {
		return err
	}
	if err := e.emit(transfer.Line{Kind: transfer.Feed, Channel: name, Offset: top, Begun: h.Begin}); err != nil {
		return err
	}
	return e.events(transfer.Entry, c)
}

func (e *exporter) endpoint(partition int, key, id string) error {
	values, err := e.s.client.HMGet(e.ctx, key, "json", "version", "created", "updated",
		"failures", "successes", "failing", "succeeded", "hold", "number", "once").Result()
	if err != nil {
		return err
	}
	fields := link.Answer(values)
	found, err := decodeEndpoint(fields)
	if err != nil {
		return e.lost(e.s.damaged("", "webhook endpoint "+id, err))
	}
	n, err := fields.Numbers(4, 5)
	if err != nil {
		return e.lost(e.s.damaged("", "webhook endpoint "+id, err))
	}
	l := transfer.Line{Kind: transfer.Endpoint, Endpoint: &found, Health: &dispatch.Health{
		Failures: int(n[0]), Successes: int(n[1]), FailingSince: at(n[2]), LastSuccess: at(n[3]), HeldUntil: at(n[4]),
	}}
	if fields.Text(10) == "1" {
		named, err := e.s.client.ZScore(e.ctx, e.s.tags[partition]+"w:once", id).Result()
		if err == nil {
			l.Named = at(int64(named))
		}
	}
	if err := e.emit(l); err != nil {
		return err
	}
	number := fields.Text(9)
	for from := int64(0); ; from += exportPage {
		messages, err := e.s.client.ZRange(e.ctx, e.s.tags[partition]+"w:log:"+number, from, from+exportPage-1).Result()
		if err != nil {
			return err
		}
		for _, message := range messages {
			if err := e.delivery(e.s.tags[partition], number, message); err != nil {
				return err
			}
		}
		if len(messages) < exportPage {
			return nil
		}
	}
}

func (e *exporter) delivery(tag, number, message string) error {
	values, err := e.s.client.HMGet(e.ctx, tag+"w:d:"+number+":"+message, "s", "l", "y", "b", "c", "d", "z", "n", "a").Result()
	if err != nil {
		return err
	}
	fields := link.Answer(values)
	if fields.Text(0) == "" {
		return nil // forgotten meanwhile
	}
	value := func(i int) int64 { // of what may not be there
		n, _ := strconv.ParseInt(fields.Text(i), 10, 64)
		return n
	}
	m := &transfer.Message{
		ID: message, Lane: fields.Text(1), Type: fields.Text(2), State: statesByLetter[fields.Text(0)],
		Created: at(value(4)), Tries: int(value(7)), Attempts: int(value(8)),
	}
	switch m.State {
	case dispatch.Sending:
		m.State = dispatch.Waiting
		m.Due = time.Now().UTC().Truncate(time.Microsecond)
	case dispatch.Waiting:
		m.Due = at(value(5))
	default:
		m.Settled = at(value(6))
	}
	body, err := e.s.client.HGet(e.ctx, tag+"w:m:"+fields.Text(3), "b").Result()
	if err == nil {
		m.Told, err = messageOf(body)
	} else if !errors.Is(err, goredis.Nil) {
		return err
	}
	if err != nil {
		return e.lost(e.s.damaged("", "the body of webhook message "+message, err))
	}
	log, err := e.s.client.LRange(e.ctx, tag+"w:a:"+number+":"+message, 0, -1).Result()
	if err != nil {
		return err
	}
	for _, entry := range log {
		a, err := decodeAttempt(entry)
		if err != nil {
			return e.lost(e.s.damaged("", "the log of webhook delivery "+message, err))
		}
		m.Log = append(m.Log, a)
	}
	return e.emit(transfer.Line{Kind: transfer.Delivery, Delivery: m})
}

func (e *exporter) kept(_ int, key, name string) error {
	value, err := e.s.client.Get(e.ctx, key).Bytes()
	if err != nil {
		return err
	}
	return e.emit(transfer.Line{Kind: transfer.Kept, ID: name, Data: value})
}

// attemptEntry is an attempt as it is in the log.
func attemptEntry(a dispatch.Attempt) (string, error) {
	at := a.At
	a.At = time.Time{}
	record, err := json.Marshal(a)
	return strconv.FormatInt(micros(at), 10) + " " + string(record), err
}
