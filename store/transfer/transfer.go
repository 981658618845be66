// Package transfer is how what a store holds is written down, as JSON lines
// (https://jsonlines.org), so that another one can take it in: the same driver's or the other's.
//
// The first line says what it is, the last one how many there were, and CRC-32C of all before it: a
// file that was cut or changed is told from a whole one. Between them come, for each request,
// itself, its bodies, its events; then what names requests, feeds, webhooks, streams with their bytes,
// and what is kept by name. Secrets are among them.
package transfer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Version is that of the format.
const Version = 1

// Kind is what a line tells of.
type Kind string

// The kinds, in the order in which they come.
const (
	Begin   Kind = "hark-export"
	Request Kind = "request" // Request, Serial, Ticket
	Content Kind = "content" // of the request before: Part, Type, Data
	Event   Kind = "event"   // of the request before: Offset, Event
	Key     Kind = "key"     // Digest, ID, Life, Fingerprint, Locked, Reply
	// Channel, Offset: of its newest event, whether that is kept or not, Begun.
	Feed     Kind = "feed"
	Entry    Kind = "entry"    // of the feed before: Offset, Event
	Endpoint Kind = "endpoint" // Endpoint, Health, Named
	Delivery Kind = "delivery" // of the endpoint before, the oldest first: Delivery
	// Channel: stream.Name.Key, Stream. Of the output of a request, which came before.
	Stream Kind = "stream"
	// Of the stream before, all that is its own, one behind the other: Offset, the position of the
	// first byte, and Data.
	Bytes Kind = "bytes"
	Floor Kind = "floor" // Offset: the highest that a feed had which is gone
	Kept  Kind = "kept"  // ID: the name; Data
	End   Kind = "end"   // Lines: how many there are, the first and this one included; Sum
)

// Line is one of an export. Times are cut to microseconds where a driver keeps no more.
type Line struct {
	Kind    Kind `json:"kind"`
	Version int  `json:"version,omitzero"`
	Lines   int  `json:"lines,omitzero"`
	// Sum is, in the first line, which one the last line has ([SumName]), and there the sum of all
	// lines before it, in hexadecimal. Older versions wrote neither.
	Sum string `json:"sum,omitzero"`

	Request *Record `json:"request,omitzero"`
	Serial  uint64  `json:"serial,omitzero"` // rises with creation
	Ticket  uint64  `json:"ticket,omitzero"` // of a pending one: rises in the order of work

	Part string `json:"part,omitzero"` // "input", "output" or "answers"
	Type string `json:"type,omitzero"`
	Data []byte `json:"data,omitzero"`

	Channel string `json:"channel,omitzero"`
	Offset  uint64 `json:"offset,omitzero"`
	// The offset behind which a feed began, if all that it ever had is there.
	Begun uint64 `json:"begun,omitzero"`
	Event string `json:"event,omitzero"` // as clients get it
	// What an export tells instead, until it is written.
	Told *lifecycle.Event `json:"-"`

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

	Stream *StreamRecord `json:"stream,omitzero"`
}

// Record is a request as it is written down: what tells it from others, and all of it as
// [codec.AppendRecord] writes it, because not all that it holds is text.
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
	return json.Marshal(record{of.ID, of.Owner, of.Route, of.Status, codec.AppendRecord(nil, &of)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Record) UnmarshalJSON(raw []byte) error {
	var from record
	if err := decode(raw, &from); err != nil {
		return err
	}
	of := lifecycle.Request{ID: from.ID}
	if err := codec.DecodeRecord(string(from.Record), &of); err != nil {
		return fmt.Errorf("request %s: %w", from.ID, err)
	}
	same := func(told, is string) bool { return told == is || !utf8.ValidString(is) }
	if !same(from.Owner, of.Owner) || !same(from.Route, of.Route) || from.Status != of.Status {
		return fmt.Errorf("request %.80q: its owner, route or status is not that of its record, where they would have to change, too", from.ID)
	}
	*r = Record(of)
	return nil
}

// StreamRecord is a stream as it is written down: how much it has, and all that is known of it
// as [codec.AppendStream] writes it.
type StreamRecord stream.Stream

type streamRecord struct {
	Type   string `json:"type,omitzero"`
	Size   uint64 `json:"size"` // bytes, those that a fork inherits included
	Record []byte `json:"record"`
}

// MarshalJSON implements json.Marshaler.
func (s *StreamRecord) MarshalJSON() ([]byte, error) {
	of := stream.Stream(*s)
	return json.Marshal(streamRecord{of.Type, of.Tail, codec.AppendStream(nil, &of)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *StreamRecord) UnmarshalJSON(raw []byte) error {
	var from streamRecord
	if err := decode(raw, &from); err != nil {
		return err
	}
	var of stream.Stream
	if err := codec.DecodeStream(string(from.Record), &of); err != nil {
		return err
	}
	if from.Size != of.Tail || from.Type != of.Type && utf8.ValidString(of.Type) {
		return errors.New("the size or the type of a stream is not that of its record, where it would have to change, too")
	}
	*s = StreamRecord(of)
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
	Body     []byte             `json:"body,omitzero"`    // as it is sent
	Told     *lifecycle.Event   `json:"-"`                // see [Line]
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
	Input   = "input"
	Output  = "output"
	Answers = "answers"
)

// PartOf returns what a name stands for.
func PartOf(name string) (lifecycle.Part, bool) {
	switch name {
	case Input:
		return lifecycle.Input, true
	case Output:
		return lifecycle.Output, true
	case Answers:
		return lifecycle.Answers, true
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

// Write writes down all that a store holds; text returns an event as clients get it. It needs
// memory for the largest body.
func Write(to io.Writer, from Source, text func(*lifecycle.Event) []byte, skip func(error)) (lines int, err error) {
	out := bufio.NewWriterSize(to, 1<<16)
	sum := crc32.New(castagnoli)
	encoder := json.NewEncoder(io.MultiWriter(out, sum))
	encoder.SetEscapeHTML(false)
	emit := func(l Line) error {
		lines++
		if l.Told != nil {
			l.Event = string(text(l.Told))
		}
		if l.Delivery != nil && l.Delivery.Told != nil {
			l.Delivery.Body = text(l.Delivery.Told)
		}
		return encoder.Encode(&l)
	}
	if err := emit(Line{Kind: Begin, Version: Version, Sum: SumName}); err != nil {
		return lines, err
	}
	if err := from.Export(emit, skip); err != nil {
		return lines, err
	}
	if err := emit(Line{Kind: End, Lines: lines + 1, Sum: hexSum(sum.Sum32())}); err != nil {
		return lines, err
	}
	return lines, out.Flush()
}

// SumName is what the first line of an export calls the sum that its last line has.
const SumName = "crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func hexSum(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// ErrCut is an export that does not end as one does.
var ErrCut = errors.New("the export has no end: it was cut, or is still being written. Nothing was taken over; make it anew")

// errChanged is an export whose sum is another one.
var errChanged = errors.New("the export is not what was written: something in it was changed, by an editor, by a conversion of the ends " +
	"of lines, or by the disk. Nothing was taken over; make it anew, or use another copy")

// starts are what files begin with that were an export once, and what helps.
var starts = []struct{ begin, remedy string }{
	{"\xef\xbb\xbf", "a byte order mark, which an editor has put there: use the export as it was written"},
	{"\xff\xfe", "a byte order mark of UTF-16, which PowerShell's > writes: let `store export` write the file itself"},
	{"\xfe\xff", "a byte order mark of UTF-16: let `store export` write the file itself"},
	{"\x1f\x8b", "what gzip writes: unpack it first"},
}

// Seen is what was read of an export.
type Seen struct {
	Lines  int  // the first and the last included
	Summed bool // it has a sum, which was right
}

// Read yields the lines of an export between the first and the last. After an error nothing
// follows. If seen is not nil it is set while they are read.
func Read(from io.Reader, seen *Seen) iter.Seq2[Line, error] {
	if seen == nil {
		seen = new(Seen)
	}
	return func(yield func(Line, error) bool) {
		in := bufio.NewReaderSize(from, 1<<16)
		*seen = Seen{}
		summed, sum := false, uint32(0)
		fail := func(err error) { yield(Line{}, fmt.Errorf("line %d: %w", seen.Lines, err)) }
		for {
			raw, err := in.ReadBytes('\n')
			seen.Lines++
			if len(raw) == 0 || err != nil {
				if err != nil && !errors.Is(err, io.EOF) {
					fail(err)
					return
				}
				fail(ErrCut)
				return
			}
			l, err := readLine(raw, seen.Lines == 1)
			if err == nil && l.Kind == End {
				err = ended(raw, &l, seen.Lines, summed, sum)
			}
			if err != nil {
				fail(err)
				return
			}
			sum = crc32.Update(sum, castagnoli, raw)
			switch {
			case seen.Lines == 1:
				summed = l.Sum != ""
			case l.Kind == End:
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					seen.Lines++
					fail(errors.New("something follows the end of the export"))
					return
				}
				seen.Summed = summed
				return
			case !yield(l, nil):
				return
			}
		}
	}
}

// readLine reads one line, the first one if it is that.
func readLine(raw []byte, first bool) (l Line, err error) {
	for _, s := range starts {
		if first && bytes.HasPrefix(raw, []byte(s.begin)) {
			return l, fmt.Errorf("it begins with %s", s.remedy)
		}
	}
	err = decode(raw, &l)
	switch {
	case err != nil:
		return l, fmt.Errorf("it is no line of an export: %w", err)
	case first && (l.Kind != Begin || l.Version < 1):
		return l, errors.New("it does not begin as an export of Hark does")
	case first && l.Version > Version:
		return l, fmt.Errorf("the export is of version %d, this program knows up to version %d: use a newer one", l.Version, Version)
	case first && l.Sum != "" && l.Sum != SumName:
		return l, fmt.Errorf("the export has a sum %.40q, which this program does not know: use a newer one", l.Sum)
	case !first && l.Kind == Begin:
		return l, errors.New("another export begins in it: import each by itself")
	case !first && l.Kind != End && l.Sum != "":
		return l, errors.New("it has a sum, which the last line only has")
	}
	return l, nil
}

// ended returns what is wrong with an export by its last line.
func ended(raw []byte, l *Line, lines int, summed bool, sum uint32) error {
	if l.Lines != lines {
		return fmt.Errorf("the export had %d lines: some are missing, or too many", l.Lines)
	}
	if !summed && l.Sum == "" {
		return nil
	}
	// The last line itself is in no sum.
	want, err := json.Marshal(Line{Kind: End, Lines: lines, Sum: hexSum(sum)})
	if err == nil && !bytes.Equal(raw, append(want, '\n')) {
		err = errChanged
	}
	return err
}

// decode reads JSON that has nothing that v does not have, and nothing behind it.
func decode(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		// There is no other way to tell.
		if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			return fmt.Errorf("this program knows no member %s: use a newer one, or the export as it was written", name)
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind it")
	}
	return nil
}

// Each has take called with each line, after it was held against what a gateway could have stored,
// and names the line that is not taken, and its kind.
func Each(lines iter.Seq2[Line, error], take func(*Line) error) error {
	c, number := newChecker(), 1 // the first one is not among them
	for l, err := range lines {
		if err != nil {
			return err
		}
		number++
		err = c.line(&l)
		if err == nil {
			err = take(&l)
		}
		if err != nil {
			return fmt.Errorf("line %d, of kind %q: %w. Nothing was taken over", number, l.Kind, err)
		}
	}
	if err := c.streamEnd(); err != nil {
		return fmt.Errorf("%w. Nothing was taken over", err)
	}
	return nil
}
