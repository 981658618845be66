package durable

import (
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/stream"
)

// The fields of the protocol (PROTOCOL.md, sections 4.2, 5 and 10).
const (
	FieldTTL         = "Stream-TTL"
	FieldExpires     = "Stream-Expires-At"
	FieldClosed      = "Stream-Closed"
	FieldSeq         = "Stream-Seq"
	FieldNextOffset  = "Stream-Next-Offset"
	FieldUpToDate    = "Stream-Up-To-Date"
	FieldCursor      = "Stream-Cursor"
	FieldForkedFrom  = "Stream-Forked-From"
	FieldForkOffset  = "Stream-Fork-Offset"
	FieldForkSub     = "Stream-Fork-Sub-Offset"
	FieldProducer    = "Producer-Id"
	FieldEpoch       = "Producer-Epoch"
	FieldProducerSeq = "Producer-Seq"
	FieldExpected    = "Producer-Expected-Seq"
	FieldReceived    = "Producer-Received-Seq"
)

// Error is something in a call that the protocol does not allow.
type Error struct {
	At     string // the name of a field, or ?name of an option
	Detail string // what is wrong with it, behind its name
}

func (e *Error) Error() string { return e.At + " " + e.Detail }

// Header returns the value of a field of a call, and whether it stands there.
type Header func(name string) (value string, there bool)

// Create reads what stream a PUT asks for (section 5.1). Its type, body and quota are the caller's,
// as is the owner of what it is forked from. The error is an [*Error].
func Create(h Header) (stream.Create, error) {
	c := stream.Create{Closed: closed(h)}
	var err error
	if text, there := h(FieldTTL); there {
		if c.TTL, err = ttl(text); err != nil {
			return c, err
		}
	}
	if text, there := h(FieldExpires); there {
		if c.TTL > 0 {
			return c, &Error{FieldExpires, "stands beside " + FieldTTL + ": send one of them"}
		}
		if c.Expires, err = time.Parse(time.RFC3339, text); err != nil || c.Expires.IsZero() {
			return c, &Error{FieldExpires, "must be a time like 2030-01-31T00:00:00Z (RFC 3339)"}
		}
		c.Expires = counted(c.Expires)
	}
	c.Fork, err = fork(h)
	return c, err
}

// counted is a time as stores can count it, in nanoseconds since 1970: what lies before is over,
// and what lies behind 2200 is as good as never.
func counted(t time.Time) time.Time {
	first, last := time.Unix(1, 0).UTC(), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case t.Before(first):
		return first
	case t.After(last):
		return last
	}
	return t
}

// maxTTL is the longest time to live, in seconds: no clock counts further.
const maxTTL = 9_000_000_000

// ttl reads a number of seconds without anything around it (section 5.1). None at all is as good as
// none: the stream is gone as soon as it is there.
func ttl(text string) (time.Duration, error) {
	n, ok := number(text, maxTTL)
	if !ok || len(text) > 1 && text[0] == '0' {
		return 0, &Error{FieldTTL, "must be a whole number of seconds, up to " + strconv.Itoa(maxTTL) + ", of digits alone and without a zero in front"}
	}
	return max(time.Duration(n)*time.Second, 1), nil
}

// prefix is what stands in front of the path of a stream in its URL.
const prefix = "/v1/stream/"

// fork reads what a PUT forks from (section 4.2), nil for nothing.
func fork(h Header) (*stream.ForkOf, error) {
	from, there := h(FieldForkedFrom)
	offset, at := h(FieldForkOffset)
	sub, refined := h(FieldForkSub)
	switch {
	case !there && at:
		return nil, &Error{FieldForkOffset, "needs " + FieldForkedFrom}
	case !there && refined:
		return nil, &Error{FieldForkSub, "needs " + FieldForkedFrom}
	case !there:
		return nil, nil //nolint:nilnil // nothing is forked
	}
	path, ok := Path(strings.TrimPrefix(from, prefix))
	if !ok || !strings.HasPrefix(from, prefix) {
		return nil, &Error{FieldForkedFrom, "must be the path of a stream in its URL, as " + prefix + "name"}
	}
	f := &stream.ForkOf{From: stream.Name{Path: path}, Offset: offset}
	if at && (offset == "" || offset == Now) {
		return nil, &Error{FieldForkOffset, "must be an offset of the source: without the field its end is meant"}
	}
	if !refined {
		return f, nil
	}
	n, ok := number(sub, maxInteger)
	if !ok || len(sub) > 1 && sub[0] == '0' {
		return nil, &Error{FieldForkSub, "must be a whole number of digits alone, without a zero in front"}
	}
	if n > 0 && !at {
		return nil, &Error{FieldForkSub, "needs " + FieldForkOffset + ": behind the end there is nothing"}
	}
	f.Sub = n
	return f, nil
}

// Append reads how a POST appends (sections 5.2 and 5.2.1). Its type, body and quota are the
// caller's. The error is an [*Error].
func Append(h Header) (stream.Append, error) {
	a := stream.Append{Close: closed(h)}
	if seq, there := h(FieldSeq); there {
		if seq == "" {
			return a, &Error{FieldSeq, "is empty: say what is meant, or leave it out"}
		}
		if len(seq) > maxProducer {
			return a, &Error{FieldSeq, "must have at most " + strconv.Itoa(maxProducer) + " bytes"}
		}
		a.Seq = seq
	}
	var err error
	a.Producer, err = producer(h)
	return a, err
}

// maxInteger is the highest number that clients in JavaScript hold exactly.
const maxInteger = 1<<53 - 1

// maxProducer is how many bytes the id of a producer, or a sequence, may have: streams keep them.
const maxProducer = 128

// producer reads the three fields of a producer, nil if none of them is there.
func producer(h Header) (*stream.Stamp, error) {
	id, named := h(FieldProducer)
	epoch, dated := h(FieldEpoch)
	seq, counted := h(FieldProducerSeq)
	if !named && !dated && !counted {
		return nil, nil //nolint:nilnil // nobody counts
	}
	for _, f := range []struct {
		name  string
		there bool
	}{{FieldProducer, named}, {FieldEpoch, dated}, {FieldProducerSeq, counted}} {
		if !f.there {
			return nil, &Error{f.name, "is missing: " + FieldProducer + ", " + FieldEpoch + " and " + FieldProducerSeq + " are sent together, or none of them"}
		}
	}
	if id == "" || len(id) > maxProducer {
		return nil, &Error{FieldProducer, "must have 1 to " + strconv.Itoa(maxProducer) + " bytes"}
	}
	s := &stream.Stamp{ID: id}
	var ok bool
	if s.Epoch, ok = number(epoch, maxInteger); !ok {
		return nil, &Error{FieldEpoch, "must be a whole number from 0 to 2^53-1"}
	}
	if s.Seq, ok = number(seq, maxInteger); !ok {
		return nil, &Error{FieldProducerSeq, "must be a whole number from 0 to 2^53-1"}
	}
	return s, nil
}

// closed reads whether a call closes a stream: any other value than true is as none (section 4.1).
func closed(h Header) bool {
	text, _ := h(FieldClosed)
	return strings.EqualFold(text, "true")
}

// number reads a whole number of digits alone.
func number(text string, most int64) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n <= most
}
