// Package transfer is how what a store holds is written down, as JSON lines
// (https://jsonlines.org), so that another one can take it in: the same driver's or the other's.
//
// The first line says what it is, the last one how many there were: a file that was cut is told
// from a whole one. Between them come, for each request, itself, its bodies, its events; then what
// names requests, feeds, webhooks, and what is kept by name. Secrets are among them.
package transfer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/parts"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Version is that of the format.
const Version = 1

// Kind is what a line tells of.
type Kind string

// The kinds, in the order in which they come.
const (
	Begin    Kind = "hark-export"
	Request  Kind = "request"  // Request, Serial, Ticket
	Content  Kind = "content"  // of the request before: Part, Type, Data
	Event    Kind = "event"    // of the request before: Offset, Event
	Key      Kind = "key"      // Digest, ID, Life, Fingerprint, Locked, Reply
	Feed     Kind = "feed"     // Channel, Offset: of its newest event, whether that is kept or not, Begun
	Entry    Kind = "entry"    // of the feed before: Offset, Event
	Endpoint Kind = "endpoint" // Endpoint, Health, Named
	Delivery Kind = "delivery" // of the endpoint before, the oldest first: Delivery
	Floor    Kind = "floor"    // Offset: the highest that a feed had which is gone
	Kept     Kind = "kept"     // ID: the name; Data
	End      Kind = "end"      // Lines: how many there are, the first and this one included
)

// Line is one of an export. Times are cut to microseconds where a driver keeps no more.
type Line struct {
	Kind    Kind `json:"kind"`
	Version int  `json:"version,omitzero"`
	Lines   int  `json:"lines,omitzero"`

	Request *Record `json:"request,omitzero"`
	Serial  uint64  `json:"serial,omitzero"` // rises with creation
	Ticket  uint64  `json:"ticket,omitzero"` // of a pending one: rises in the order of work

	Part string `json:"part,omitzero"` // "input" or "output"
	Type string `json:"type,omitzero"`
	Data []byte `json:"data,omitzero"`

	Channel string `json:"channel,omitzero"`
	Offset  uint64 `json:"offset,omitzero"`
	Begun   uint64 `json:"begun,omitzero"` // the offset behind which a feed began, if all that it ever had is there
	Event   string `json:"event,omitzero"` // as clients get it

	Digest      []byte           `json:"digest,omitzero"` // SHA-256 of owner, NUL, idempotency key
	ID          string           `json:"id,omitzero"`
	Life        string           `json:"life,omitzero"`
	Fingerprint []byte           `json:"fingerprint,omitzero"`
	Locked      time.Time        `json:"locked,omitzero"`
	Reply       *lifecycle.Reply `json:"reply,omitzero"`

	Endpoint *dispatch.Endpoint `json:"endpoint,omitzero"`
	Health   *dispatch.Health   `json:"health,omitzero"`
	Named    time.Time          `json:"named,omitzero"`
	Delivery *Message           `json:"delivery,omitzero"`
}

// Record is a request as it is written down: what tells it from others, and all of it as
// [parts.AppendRecord] writes it, because not all that it holds is text.
type Record lifecycle.Request

type record struct {
	ID     string           `json:"id"`
	Owner  string           `json:"owner,omitzero"`
	Route  string           `json:"route,omitzero"`
	Status lifecycle.Status `json:"status"`
	Record []byte           `json:"record"`
}

// MarshalJSON implements json.Marshaler.
func (r *Record) MarshalJSON() ([]byte, error) {
	of := lifecycle.Request(*r)
	return json.Marshal(record{of.ID, of.Owner, of.Route, of.Status, parts.AppendRecord(nil, &of)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Record) UnmarshalJSON(raw []byte) error {
	var from record
	if err := json.Unmarshal(raw, &from); err != nil {
		return err
	}
	of := lifecycle.Request{ID: from.ID}
	if err := parts.DecodeRecord(string(from.Record), &of); err != nil {
		return fmt.Errorf("request %s: %w", from.ID, err)
	}
	*r = Record(of)
	return nil
}

// Message is a delivery with its body. What was being sent waits.
type Message struct {
	ID       string             `json:"id"`
	Lane     string             `json:"lane"`
	Type     string             `json:"type"`
	State    dispatch.State     `json:"state"`
	Attempts int                `json:"attempts,omitzero"`
	Tries    int                `json:"tries,omitzero"` // attempts since it was enqueued or resent
	Created  time.Time          `json:"created"`
	Due      time.Time          `json:"due,omitzero"`     // of one that waits
	Settled  time.Time          `json:"settled,omitzero"` // of any other
	Body     []byte             `json:"body,omitzero"`
	Log      []dispatch.Attempt `json:"log,omitzero"`
}

// TimeOf returns when an event happened, the zero time if it does not say.
func TimeOf(event string) time.Time {
	var e struct {
		Time time.Time `json:"time"`
	}
	if json.Unmarshal([]byte(event), &e) != nil {
		return time.Time{}
	}
	return e.Time
}

// The names of the parts of a request.
const (
	Input  = "input"
	Output = "output"
)

// PartOf returns what a name stands for.
func PartOf(name string) (lifecycle.Part, bool) {
	switch name {
	case Input:
		return lifecycle.Input, true
	case Output:
		return lifecycle.Output, true
	default:
		return 0, false
	}
}

// Source is a store that can be written down. It calls emit with each line but the first and the
// last, and ends with emit's error. skip is told of what cannot be read, which is left out; if it
// is nil, that ends the export.
type Source interface {
	Export(emit func(Line) error, skip func(error)) error
}

// Write writes down all that a store holds. It needs memory for the largest body.
func Write(to io.Writer, from Source, skip func(error)) (lines int, err error) {
	out := bufio.NewWriterSize(to, 1<<16)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	emit := func(l Line) error {
		lines++
		return encoder.Encode(&l)
	}
	if err := emit(Line{Kind: Begin, Version: Version}); err != nil {
		return lines, err
	}
	if err := from.Export(emit, skip); err != nil {
		return lines, err
	}
	if err := emit(Line{Kind: End, Lines: lines + 1}); err != nil {
		return lines, err
	}
	return lines, out.Flush()
}

// ErrCut is an export that does not end as one does.
var ErrCut = errors.New("the export has no end: it was cut, or is still being written. Nothing was taken over; make it anew")

// Read yields the lines of an export between the first and the last. After an error nothing
// follows.
func Read(from io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		in := bufio.NewReaderSize(from, 1<<16)
		n := 0
		fail := func(err error) { yield(Line{}, fmt.Errorf("line %d: %w", n, err)) }
		for {
			raw, err := in.ReadBytes('\n')
			n++
			if len(raw) == 0 || err != nil {
				if err != nil && !errors.Is(err, io.EOF) {
					fail(err)
					return
				}
				fail(ErrCut)
				return
			}
			var l Line
			if err := json.Unmarshal(raw, &l); err != nil {
				fail(fmt.Errorf("it is no line of an export: %w", err))
				return
			}
			switch {
			case n == 1 && (l.Kind != Begin || l.Version < 1):
				fail(errors.New("it does not begin as an export of Hark does"))
				return
			case n == 1 && l.Version > Version:
				fail(fmt.Errorf("the export is of version %d, this program knows up to version %d: use a newer one", l.Version, Version))
				return
			case n == 1:
			case l.Kind == End && l.Lines != n:
				fail(fmt.Errorf("the export had %d lines: some are missing, or too many", l.Lines))
				return
			case l.Kind == End:
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					n++
					fail(errors.New("something follows the end of the export"))
				}
				return
			default:
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

// Each has take called with each line, and names the kind of the one that is not taken.
func Each(lines iter.Seq2[Line, error], take func(*Line) error) error {
	for l, err := range lines {
		if err != nil {
			return err
		}
		if err := take(&l); err != nil {
			return fmt.Errorf("a line of kind %q: %w", l.Kind, err)
		}
	}
	return nil
}
