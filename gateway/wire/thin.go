package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// A thin event says what has changed and what it is about, and nothing that whoever gets it knows
// already: of the channel that brings it, of the type, or of events before it. docs/follow.md has
// its members.

// thinner is an event, for the hub to write in thin form. It is no type of its own in memory, so
// that to pass one on costs nothing.
type thinner lifecycle.Event

// Thinner returns an event as the hub passes it on to those who follow in thin form.
func Thinner(e *lifecycle.Event) hub.Thinner { return (*thinner)(e) }

// AppendThin implements [hub.Thinner]. channel is the name or the key of one, which both begin with
// its kind.
func (e *thinner) AppendThin(dst []byte, channel string) []byte {
	kind, _, _ := strings.Cut(channel, ":")
	return appendThin(dst, (*lifecycle.Event)(e), lifecycle.ChannelKind(kind))
}

// ThinJSON returns an event in thin form for whoever gets it alone, by a webhook: as a CloudEvent
// 1.0, one line, of the same id and source as in full form, whose data has what streams say
// besides.
func ThinJSON(e *lifecycle.Event) []byte {
	r, ok := stateOf(e)
	if !ok {
		return JSON(e)
	}
	dst := make([]byte, 0, 320)
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(appendEventID(dst, r), `","source":"/v1/requests/`...)
	dst = append(append(dst, r.ID...), `","type":"`...)
	dst = append(append(dst, e.Type...), '"')
	if r.Topic != "" {
		dst = appendString(append(dst, `,"subject":`...), r.Topic)
	}
	dst = appendTime(append(dst, `,"time":`...), r.UpdatedAt)
	dst = append(dst, `,"data":{`...)
	data := len(dst)
	if dst = appendThinState(dst, r, e.Type, true); len(dst) > data {
		dst = append(dst[:data], dst[data+1:]...) // the comma in front of the first member
	}
	return append(dst, "}}"...)
}

// appendThin appends an event as a channel of a kind tells it: one line of JSON, an object that
// begins with the type.
func appendThin(dst []byte, e *lifecycle.Event, kind lifecycle.ChannelKind) []byte {
	dst = appendString(append(dst, `{"type":`...), string(e.Type))
	r, ok := stateOf(e)
	if !ok { // of a place in a feed the channel says all; of what cannot be read nobody knows more
		return append(dst, '}')
	}
	if kind != lifecycle.RequestChannel {
		dst = append(appendEventID(append(dst, `,"id":"`...), r), '"')
	}
	if e.Type != lifecycle.EventProgress {
		if r.Topic != "" && (kind == lifecycle.OwnerChannel || kind == lifecycle.RequestChannel && told(e.Type)) {
			dst = appendString(append(dst, `,"topic":`...), r.Topic)
		}
		dst = appendTime(append(dst, `,"time":`...), r.UpdatedAt)
	}
	return append(appendThinState(dst, r, e.Type, false), '}')
}

// told reports whether an event of type t says what holds as long as the request is there.
func told(t lifecycle.EventType) bool {
	return t == lifecycle.EventAccepted || t == lifecycle.EventReset
}

// implied returns the status and the attempt that a request has behind an event of type t unless
// the event says otherwise.
func implied(t lifecycle.EventType, batch bool) (status lifecycle.Status, attempt int) {
	if !batch {
		attempt = 1
	}
	switch t {
	case lifecycle.EventAccepted:
		return lifecycle.Pending, 0
	case lifecycle.EventRetrying, lifecycle.EventAnswered, lifecycle.EventRedriven:
		return lifecycle.Pending, attempt
	case lifecycle.EventStarted, lifecycle.EventProgress:
		return lifecycle.Processing, attempt
	case lifecycle.EventWaiting:
		return lifecycle.Waiting, attempt
	case lifecycle.EventSucceeded:
		return lifecycle.Succeeded, attempt
	case lifecycle.EventFailed:
		return lifecycle.Failed, attempt
	case lifecycle.EventCanceled:
		return lifecycle.Canceled, attempt
	case lifecycle.EventExpired:
		return lifecycle.Expired, attempt
	}
	return "", -1 // a reset, which implies nothing
}

// appendThinState appends what an event of type t says of r in thin form wherever it is told, each
// member with a comma in front. alone says that events before it may not have come, even progress
// that only another type supersedes: a webhook that coalesces.
func appendThinState(dst []byte, r *lifecycle.Request, t lifecycle.EventType, alone bool) []byte {
	status, attempt := implied(t, r.Batch != nil)
	if r.Status != status {
		dst = appendString(append(dst, `,"status":`...), string(r.Status))
	}
	if r.Attempt != attempt {
		dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(r.Attempt), 10)
	}
	// Whole wherever it may have changed, so that progress may be left out which other progress
	// supersedes. Of a batch the step that ends it counts, too.
	if alone || t == lifecycle.EventProgress || t == lifecycle.EventStarted || t == lifecycle.EventReset || r.Batch != nil {
		dst = appendProgress(dst, r)
	}
	if r.Error != nil {
		dst = appendThinFailure(append(dst, `,"error":`...), r.Error)
	}
	if r.Result != nil {
		dst = appendString(append(dst, `,"result":{"type":`...), r.Result.Type)
		dst = append(strconv.AppendInt(append(dst, `,"size":`...), r.Result.Size, 10), '}')
	}
	if r.Position != nil && r.Status == lifecycle.Pending && r.Batch == nil {
		dst = strconv.AppendInt(append(dst, `,"position":`...), int64(*r.Position), 10)
	}
	if r.Question != nil {
		dst = appendQuestion(dst, r.Question, r.ExpiresAt)
	}
	if r.Batch != nil {
		dst = appendBatch(dst, r.Batch)
	}
	if r.Redriven > 0 && (t == lifecycle.EventRedriven || t == lifecycle.EventReset) {
		dst = strconv.AppendInt(append(dst, `,"redriven":`...), int64(r.Redriven), 10)
	}
	if told(t) {
		dst = appendLasting(dst, r)
	}
	if t == lifecycle.EventReset {
		dst = appendTimeUnlessZero(dst, `,"createdAt":`, r.CreatedAt)
		dst = appendTimeUnlessZero(dst, `,"startedAt":`, r.StartedAt)
		dst = appendTimeUnlessZero(dst, `,"endedAt":`, r.EndedAt)
	}
	return dst
}

// appendProgress appends how far an attempt is.
func appendProgress(dst []byte, r *lifecycle.Request) []byte {
	if r.Percent != nil {
		dst = strconv.AppendFloat(append(dst, `,"percent":`...), *r.Percent, 'f', -1, 64)
	}
	if r.Step != "" {
		dst = appendString(append(dst, `,"step":`...), r.Step)
	}
	if r.Message != "" {
		dst = appendString(append(dst, `,"message":`...), r.Message)
	}
	return dst
}

// appendLasting appends what does not change, but for the topic.
func appendLasting(dst []byte, r *lifecycle.Request) []byte {
	if r.Route != "" {
		dst = appendString(append(dst, `,"route":`...), r.Route)
	}
	if r.Concurrency.Key != "" {
		dst = appendString(append(dst, `,"concurrencyKey":`...), r.Concurrency.Key)
	}
	if r.BatchID != "" {
		dst = appendString(append(dst, `,"batchId":`...), r.BatchID)
	}
	return dst
}

func appendThinFailure(dst []byte, f *lifecycle.Failure) []byte {
	dst = appendString(append(dst, `{"code":`...), f.Code)
	dst = appendString(append(dst, `,"message":`...), f.Message)
	if f.Detail != "" {
		dst = appendString(append(dst, `,"detail":`...), f.Detail)
	}
	return append(dst, '}')
}

func appendTimeUnlessZero(dst []byte, before string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendTime(append(dst, before...), t)
}

// appendEventID appends the id that the newest event of r has in either form, see
// [lifecycle.EventID].
func appendEventID(dst []byte, r *lifecycle.Request) []byte {
	dst = append(append(dst, r.ID...), '/')
	if r.Life != "" {
		dst = append(append(dst, r.Life...), '/')
	}
	return appendUint(dst, r.Sequence, 1)
}

// stateOf returns how the request was that an event tells of, of one that is kept as clients got it
// as far as thin events say. ok is false if it tells of no request, or cannot be read.
func stateOf(e *lifecycle.Event) (r *lifecycle.Request, ok bool) {
	switch {
	case e.State != nil:
		return e.State, true
	case e.Request.ID == "" || e.Text == nil:
		return nil, false
	}
	var text struct {
		Time time.Time
		Data document
	}
	if json.Unmarshal(e.Text, &text) != nil {
		return nil, false
	}
	r = text.Data.request()
	// These have been read from the very bytes that the event begins with.
	r.ID, r.Life, r.Sequence, r.UpdatedAt = e.Request.ID, e.Request.Life, e.Sequence, text.Time
	return r, true
}

// document is what a thin event needs of a status document that was written as [AppendDocument]
// does.
type document struct {
	Status               lifecycle.Status
	Route, Topic, Step   string
	Message, BatchID     string
	ConcurrencyKey       string
	Percent              *float64
	Attempt, Redriven    int
	Position             *int
	Error                *lifecycle.Failure
	CreatedAt, StartedAt time.Time
	EndedAt, ExpiresAt   time.Time
	Result               *struct {
		Type string
		Size int64
	}
	Batch *struct {
		Total, Succeeded, Failed, Canceled, Expired int
		OnFailure, Result, Then                     string
	}
	Question *struct {
		Name, Message   string
		Schema, Default json.RawMessage
		ExpiresAt       time.Time
	}
}

// request returns what the document says.
func (d *document) request() *lifecycle.Request {
	r := &lifecycle.Request{
		Status: d.Status, Route: d.Route, Topic: d.Topic, Step: d.Step, Message: d.Message, BatchID: d.BatchID,
		Concurrency: lifecycle.Concurrency{Key: d.ConcurrencyKey}, Percent: d.Percent, Attempt: d.Attempt, Redriven: d.Redriven,
		Position: d.Position, Error: d.Error, CreatedAt: d.CreatedAt, StartedAt: d.StartedAt, EndedAt: d.EndedAt, ExpiresAt: d.ExpiresAt,
	}
	if d.Result != nil {
		r.Result = &lifecycle.Result{}
		r.Result.Type, r.Result.Size = d.Result.Type, d.Result.Size
	}
	if b := d.Batch; b != nil {
		r.Batch = &lifecycle.Batch{
			Total: b.Total, Succeeded: b.Succeeded, Failed: b.Failed, Canceled: b.Canceled, Expired: b.Expired,
			FailFast: b.OnFailure != "", Joined: b.Result != "",
		}
		if lifecycle.ValidID(b.Then) {
			r.Batch.Then = b.Then
		}
	}
	if q := d.Question; q != nil && lifecycle.ValidQuestion(q.Name) {
		r.Question = &lifecycle.Question{Name: q.Name, Message: q.Message, Schema: oneLine(q.Schema), Default: oneLine(q.Default)}
		r.ExpiresAt = q.ExpiresAt
	}
	return r
}

// oneLine returns JSON without white space.
func oneLine(text json.RawMessage) json.RawMessage {
	if text == nil {
		return nil
	}
	var dst bytes.Buffer
	if json.Compact(&dst, text) != nil {
		return nil // which it cannot be: it was decoded
	}
	return dst.Bytes()
}

// Parse returns an event that was kept as clients get it. Of what is none only the text is known.
func Parse(text []byte) *lifecycle.Event {
	e, _ := codec.ParseEvent(text)
	return e
}
