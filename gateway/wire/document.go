package wire

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// View says how much of a request a reader may see.
type View struct {
	Trace bool // the stack that a processor sent with a failure
	// The reader does not know the status Expired: Failed, with the error that says so.
	ExpiredFails bool
	Owner        bool // whose it is
}

// AppendDocument appends the status document of r, one line of JSON, to dst. It
// is what GET answers and what every event carries as its data.
//
// It is written by hand because it runs for every event that somebody follows.
func AppendDocument(dst []byte, r *lifecycle.Request, v View) []byte {
	base := "/v1/requests/" + r.ID
	dst = append(dst, `{"id":"`...)
	dst = append(dst, r.ID...) // an id needs no escaping, see lifecycle.ValidID
	if r.Life != "" {
		dst = append(append(dst, `","life":"`...), r.Life...)
	}
	dst = append(dst, `","status":"`...)
	if v.ExpiredFails && r.Status == lifecycle.Expired {
		dst = append(dst, lifecycle.Failed...)
	} else {
		dst = append(dst, r.Status...)
	}
	if v.Owner {
		dst = append(dst, `","owner":`...)
		dst = append(appendStringOrNull(dst, r.Owner), `,"route":`...)
	} else {
		dst = append(dst, `","route":`...)
	}
	dst = appendStringOrNull(dst, r.Route)
	dst = append(dst, `,"topic":`...)
	dst = appendStringOrNull(dst, r.Topic)
	dst = append(dst, `,"step":`...)
	dst = appendStringOrNull(dst, r.Step)
	dst = append(dst, `,"percent":`...)
	if r.Percent == nil {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendFloat(dst, *r.Percent, 'f', -1, 64)
	}
	dst = append(dst, `,"message":`...)
	dst = appendStringOrNull(dst, r.Message)
	dst = append(dst, `,"attempt":`...)
	dst = strconv.AppendInt(dst, int64(r.Attempt), 10)
	dst = append(dst, `,"position":`...)
	if r.Position == nil || r.Status != lifecycle.Pending || r.Batch != nil {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, int64(*r.Position), 10)
	}
	dst = append(dst, `,"eta":`...)
	dst = appendTime(dst, r.ETA())
	dst = append(dst, `,"error":`...)
	dst = appendFailure(dst, r.Error, v)
	dst = append(dst, `,"result":`...)
	dst = appendResult(dst, r.Result, base)
	dst = append(dst, `,"sequence":`...)
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	dst = append(dst, `,"createdAt":`...)
	dst = appendTime(dst, r.CreatedAt)
	dst = append(dst, `,"updatedAt":`...)
	dst = appendTime(dst, r.UpdatedAt)
	dst = append(dst, `,"startedAt":`...)
	dst = appendTime(dst, r.StartedAt)
	dst = append(dst, `,"endedAt":`...)
	dst = appendTime(dst, r.EndedAt)
	dst = append(dst, `,"expiresAt":`...)
	dst = appendTime(dst, r.ExpiresAt)
	if r.Concurrency.Key != "" {
		dst = append(dst, `,"concurrencyKey":"`...)
		dst = append(dst, r.Concurrency.Key...) // which needs no escaping, as a topic
		dst = append(dst, '"')
	}
	if r.BatchID != "" {
		dst = append(dst, `,"batchId":"`...)
		dst = append(dst, r.BatchID...)
		dst = append(dst, '"')
	}
	if r.Redriven > 0 {
		dst = append(dst, `,"redriven":`...)
		dst = strconv.AppendInt(dst, int64(r.Redriven), 10)
	}
	if r.Batch != nil {
		dst = appendBatch(dst, r.Batch)
	}
	if r.Question != nil {
		dst = appendQuestion(dst, r.Question, r.ExpiresAt)
	}
	dst = append(dst, `,"links":[`...)
	dst = appendLink(dst, "self", base, "", "GET")
	dst = append(dst, ',')
	dst = appendLink(dst, "result", base, "/result", "GET")
	dst = append(dst, ',')
	dst = appendLink(dst, "events", base, "/events", "GET")
	dst = append(dst, ',')
	dst = appendLink(dst, "socket", "/v1/ws?channel=request:", r.ID, "GET")
	if !r.Status.Terminal() {
		dst = append(dst, ',')
		dst = appendLink(dst, "cancel", base, "/cancel", "POST")
	}
	if r.Question != nil {
		dst = append(dst, ',')
		dst = appendLink(dst, "input", base, "/input", "POST")
	}
	if r.Batch != nil {
		dst = append(dst, ',')
		dst = appendLink(dst, "requests", "/v1/batches/"+r.ID, "/requests", "GET")
		if r.Batch.Submitted {
			dst = append(dst, ',')
			dst = appendLink(dst, "then", "/v1/requests/", r.Batch.Then, "GET")
		}
	}
	return append(dst, "]}"...)
}

// appendBatch appends how many members of a batch ended how, and what was asked for besides.
func appendBatch(dst []byte, b *lifecycle.Batch) []byte {
	dst = append(dst, `,"batch":{"total":`...)
	dst = strconv.AppendInt(dst, int64(b.Total), 10)
	dst = append(dst, `,"open":`...)
	dst = strconv.AppendInt(dst, int64(b.Open()), 10)
	dst = append(dst, `,"succeeded":`...)
	dst = strconv.AppendInt(dst, int64(b.Succeeded), 10)
	dst = append(dst, `,"failed":`...)
	dst = strconv.AppendInt(dst, int64(b.Failed), 10)
	dst = append(dst, `,"canceled":`...)
	dst = strconv.AppendInt(dst, int64(b.Canceled), 10)
	dst = append(dst, `,"expired":`...)
	dst = strconv.AppendInt(dst, int64(b.Expired), 10)
	if b.FailFast {
		dst = append(dst, `,"onFailure":"cancel"`...)
	}
	if b.Joined {
		dst = append(dst, `,"result":"joined"`...)
	}
	if b.Then != "" {
		dst = append(append(append(dst, `,"then":"`...), b.Then...), '"')
	}
	return append(dst, '}')
}

// appendQuestion appends what a request asks, and until when an answer is waited for.
func appendQuestion(dst []byte, q *lifecycle.Question, expires time.Time) []byte {
	dst = append(dst, `,"question":{"name":"`...)
	dst = append(dst, q.Name...) // which needs no escaping, see lifecycle.ValidQuestion
	dst = append(dst, `","message":`...)
	dst = appendString(dst, q.Message)
	if q.Schema != nil {
		dst = append(dst, `,"schema":`...)
		dst = append(dst, q.Schema...)
	}
	if q.Default != nil {
		dst = append(dst, `,"default":`...)
		dst = append(dst, q.Default...)
	}
	dst = append(dst, `,"expiresAt":`...)
	dst = appendTime(dst, expires)
	return append(dst, '}')
}

func appendLink(dst []byte, rel, base, rest, method string) []byte {
	dst = append(dst, `{"rel":"`...)
	dst = append(dst, rel...)
	dst = append(dst, `","href":"`...)
	dst = append(dst, base...)
	dst = append(dst, rest...)
	dst = append(dst, `","method":"`...)
	dst = append(dst, method...)
	return append(dst, `"}`...)
}

func appendFailure(dst []byte, f *lifecycle.Failure, v View) []byte {
	if f == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"code":`...)
	dst = appendString(dst, f.Code)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, f.Message)
	dst = append(dst, `,"detail":`...)
	dst = appendStringOrNull(dst, f.Detail)
	if v.Trace {
		dst = append(dst, `,"trace":`...)
		dst = appendStringOrNull(dst, f.Trace)
	}
	return append(dst, '}')
}

func appendResult(dst []byte, result *lifecycle.Result, base string) []byte {
	if result == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, result.Type)
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendInt(dst, result.Size, 10)
	dst = append(dst, `,"href":"`...)
	dst = append(dst, base...)
	dst = append(dst, `/result"`...)
	if result.Value != nil {
		dst = append(dst, `,"value":`...)
		dst = append(dst, result.Value...)
	}
	return append(dst, '}')
}

// appendTime appends t in RFC 3339 with milliseconds, in UTC; null if zero.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, '"') // by hand: five in each document, and a layout is read anew each time
	dst = append(appendUint(dst, uint64(year), 4), '-')
	dst = append(appendUint(dst, uint64(month), 2), '-')
	dst = append(appendUint(dst, uint64(day), 2), 'T')
	dst = append(appendUint(dst, uint64(hour), 2), ':')
	dst = append(appendUint(dst, uint64(minute), 2), ':')
	dst = append(appendUint(dst, uint64(second), 2), '.')
	dst = appendUint(dst, uint64(t.Nanosecond()/int(time.Millisecond)), 3)
	return append(dst, 'Z', '"')
}

func appendStringOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendString appends s as a JSON string. Plain ASCII, which is nearly all of
// it, is copied; the rest is left to encoding/json, which also replaces what is
// not UTF-8.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
