package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// A record is a request as stores keep it: a message in the wire format of Protocol Buffers
// (https://protobuf.dev/programming-guides/encoding/), so that fields can be added, and what an
// older program does not know is skipped. What a request mostly has comes first: numbers up to 15
// take one byte. A field that has its zero value is not there. A request's id is not in it, because
// stores have it as the key, nor is its position, which is never stored.
//
// It is written and read by hand because it runs for every step of every request: with protowire,
// the library of the format, both took a sixth longer. A test holds what is written against that,
// and another one fails when a field is forgotten here.
const (
	fieldOwner = 1 + iota
	fieldRoute
	fieldStatus // the number of statuses
	fieldStep
	fieldPercent // fixed64
	fieldMessage
	fieldAttempt
	fieldMaxAttempts
	fieldSequence
	fieldCreated // ns since 1970, as an sint64
	fieldUpdated // as all times that follow: ns since created, as an sint64
	fieldStarted
	fieldExpires
	fieldRetention // ns
	fieldInputType
	fieldInputSize
	fieldFingerprint
	fieldTopic
	fieldEnded
	fieldResult
	fieldPriority
	fieldFailures
	fieldCancelRequested
	fieldRepeated
	fieldError
	fieldNotBefore
	fieldCall
	fieldHeader
	fieldWebhook
	fieldKey
	fieldBatch
	fieldBatchID
	fieldMember
	fieldLife
	fieldBatchLife
	fieldStartedBy
	fieldLease // ns
	fieldReported
	fieldCounted
	fieldRetryDelay // ns
	fieldQuestion
	fieldAsked
	fieldLeft // ns
	fieldResumes
	fieldAnswersSize
	fieldConcurrency
	fieldCountedWaiting
	fieldTimeout // ns
	fieldRedriven
	fieldPast
	fieldHasOutput
)

// statuses are those of a request by what stands for them.
var statuses = [...]lifecycle.Status{
	"", lifecycle.Pending, lifecycle.Processing, lifecycle.Succeeded, lifecycle.Failed, lifecycle.Canceled, lifecycle.Expired,
	lifecycle.Waiting,
}

// The wire types that are used.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

// AppendRecord appends the record of r to dst.
func AppendRecord(dst []byte, r *lifecycle.Request) []byte { return AppendReferring(dst, r, 0) }

// AppendReferring is AppendRecord for a store that keeps the value of the result out of line:
// unless it is 0, a mark in the place of the value says where. The store in Redis keeps values in
// line.
func AppendReferring(dst []byte, r *lifecycle.Request, mark byte) []byte {
	dst = appendText(dst, fieldOwner, r.Owner)
	dst = appendText(dst, fieldRoute, r.Route)
	dst = appendNumber(dst, fieldStatus, int64(slices.Index(statuses[:], r.Status)))
	dst = appendText(dst, fieldStep, r.Step)
	if r.Percent != nil {
		dst = append(dst, fieldPercent<<3|wireFixed64)
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(*r.Percent))
	}
	dst = appendText(dst, fieldMessage, r.Message)
	dst = appendNumber(dst, fieldAttempt, int64(r.Attempt))
	dst = appendNumber(dst, fieldMaxAttempts, int64(r.MaxAttempts))
	dst = appendNumber(dst, fieldSequence, int64(r.Sequence))
	epoch := time.Unix(0, 0)
	dst = appendTime(dst, fieldCreated, r.CreatedAt, epoch)
	if !r.CreatedAt.IsZero() {
		epoch = r.CreatedAt
	}
	dst = appendTime(dst, fieldUpdated, r.UpdatedAt, epoch)
	dst = appendTime(dst, fieldStarted, r.StartedAt, epoch)
	dst = appendTime(dst, fieldExpires, r.ExpiresAt, epoch)
	dst = appendNumber(dst, fieldRetention, int64(r.Retention))
	dst = appendText(dst, fieldInputType, r.Input.Type)
	dst = appendNumber(dst, fieldInputSize, r.Input.Size)
	dst = appendText(dst, fieldFingerprint, r.Fingerprint)
	dst = appendText(dst, fieldTopic, r.Topic)
	dst = appendTime(dst, fieldEnded, r.EndedAt, epoch)
	if r.Result != nil {
		dst = appendNested(dst, fieldResult, func(dst []byte) []byte {
			dst = appendNumber(appendText(dst, 1, r.Result.Type), 2, r.Result.Size)
			switch {
			case mark != 0:
				dst = appendNumber(dst, 4, int64(mark))
			case r.Result.Value != nil:
				dst = appendBytes(dst, 3, string(r.Result.Value))
			}
			return dst
		})
	}
	dst = appendNumber(dst, fieldPriority, int64(r.Priority))
	dst = appendNumber(dst, fieldFailures, int64(r.Failures))
	dst = appendMark(dst, fieldCancelRequested, r.CancelRequested)
	dst = appendMark(dst, fieldRepeated, r.Repeated)
	dst = appendMark(dst, fieldCounted, r.Counted)
	dst = appendMark(dst, fieldCountedWaiting, r.CountedWaiting)
	if r.Error != nil {
		dst = appendNested(dst, fieldError, func(dst []byte) []byte {
			return appendTexts(dst, r.Error.Code, r.Error.Message, r.Error.Detail, r.Error.Trace)
		})
	}
	dst = appendTime(dst, fieldNotBefore, r.NotBefore, epoch)
	if r.Call != nil {
		dst = appendNested(dst, fieldCall, func(dst []byte) []byte {
			return appendTexts(dst, r.Call.Method, r.Call.Path, r.Call.Query, r.Call.RawPath)
		})
	}
	if len(r.Headers) > 0 {
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			dst = appendNested(dst, fieldHeader, func(dst []byte) []byte { return appendTexts(dst, name, r.Headers[name]) })
		}
	}
	if r.Webhook != nil {
		dst = appendNested(dst, fieldWebhook, func(dst []byte) []byte {
			dst = appendText(dst, 1, r.Webhook.Endpoint)
			for _, t := range r.Webhook.Types {
				dst = appendBytes(dst, 2, string(t))
			}
			return dst
		})
	}
	dst = appendText(dst, fieldKey, r.Key)
	if r.Batch != nil {
		dst = appendNested(dst, fieldBatch, func(dst []byte) []byte { return appendBatch(dst, r.Batch) })
	}
	dst = appendText(dst, fieldBatchID, r.BatchID)
	dst = appendNumber(dst, fieldMember, int64(r.Member))
	dst = appendText(dst, fieldLife, r.Life)
	dst = appendText(dst, fieldBatchLife, r.BatchLife)
	dst = appendText(dst, fieldStartedBy, r.StartedBy)
	dst = appendNumber(dst, fieldLease, int64(r.Lease))
	dst = appendNumber(dst, fieldRetryDelay, int64(r.RetryDelay))
	if q := r.Question; q != nil {
		dst = appendNested(dst, fieldQuestion, func(dst []byte) []byte {
			return appendTexts(dst, q.Name, q.Message, string(q.Schema), string(q.Default))
		})
	}
	dst = appendNumber(dst, fieldAsked, int64(r.Asked))
	dst = appendNumber(dst, fieldLeft, int64(r.Left))
	dst = appendMark(dst, fieldResumes, r.Resumes)
	dst = appendNumber(dst, fieldAnswersSize, r.AnswersSize)
	if c := r.Concurrency; c != (lifecycle.Concurrency{}) {
		dst = appendNested(dst, fieldConcurrency, func(dst []byte) []byte {
			return appendNumber(appendNumber(appendText(dst, 1, c.Key), 2, int64(c.Limit)), 3, int64(c.Route))
		})
	}
	dst = appendNumber(dst, fieldTimeout, int64(r.Timeout))
	dst = appendNumber(dst, fieldRedriven, int64(r.Redriven))
	dst = appendNumber(dst, fieldPast, int64(r.Past))
	dst = appendMark(dst, fieldHasOutput, r.HasOutput)
	if r.Reported != (lifecycle.Reported{}) {
		dst = appendNested(dst, fieldReported, func(dst []byte) []byte {
			return appendText(appendNumber(dst, 1, int64(r.Reported.Attempt)), 2, r.Reported.Digest)
		})
	}
	return dst
}

func appendBatch(dst []byte, b *lifecycle.Batch) []byte {
	dst = appendNumber(dst, 1, int64(b.Total))
	dst = appendNumber(dst, 2, int64(b.Succeeded))
	dst = appendNumber(dst, 3, int64(b.Failed))
	dst = appendNumber(dst, 4, int64(b.Canceled))
	dst = appendNumber(dst, 5, int64(b.Expired))
	dst = appendText(dst, 6, string(b.Counted))
	dst = appendMark(appendMark(dst, 7, b.Named), 8, b.Timed)
	dst = appendMark(appendMark(dst, 9, b.FailFast), 10, b.Joined)
	dst = appendMark(appendText(dst, 11, b.Then), 12, b.Submitted)
	return appendNumber(dst, 13, b.Limit)
}

func (f field) batch(b *lifecycle.Batch) bool {
	return f.nested(func(f field) {
		switch f.number {
		case 1:
			b.Total = f.int()
		case 2:
			b.Succeeded = f.int()
		case 3:
			b.Failed = f.int()
		case 4:
			b.Canceled = f.int()
		case 5:
			b.Expired = f.int()
		case 6:
			b.Counted = nil
			if f.bytes != "" {
				b.Counted = []byte(f.bytes)
			}
		case 7:
			b.Named = f.varint != 0
		case 8:
			b.Timed = f.varint != 0
		case 9:
			b.FailFast = f.varint != 0
		case 10:
			b.Joined = f.varint != 0
		case 11:
			b.Then = f.bytes
		case 12:
			b.Submitted = f.varint != 0
		case 13:
			b.Limit = f.int64()
		}
	})
}

// DecodeRecord reads what AppendRecord wrote into r, which is zero but for its id. The strings in
// it are parts of data. A value that is out of line is an error: it would be missing.
func DecodeRecord(data string, r *lifecycle.Request) error {
	mark, err := DecodeReferring(data, r)
	if err == nil && mark != 0 {
		err = errOutOfLine
	}
	return err
}

var errOutOfLine = errors.New("the value of the result is not in the record")

// DecodeReferring is DecodeRecord for what AppendReferring wrote, and returns the mark.
func DecodeReferring(data string, r *lifecycle.Request) (mark byte, err error) {
	var epoch int64
	var outOfLine uint64
	for m := (message{data}); m.rest != ""; {
		f, ok := m.next()
		if !ok {
			return 0, errDamaged
		}
		switch f.number {
		case fieldOwner:
			r.Owner = f.bytes
		case fieldRoute:
			r.Route = f.bytes
		case fieldStatus:
			if f.varint >= uint64(len(statuses)) {
				return 0, errDamaged
			}
			r.Status = statuses[f.varint]
		case fieldStep:
			r.Step = f.bytes
		case fieldPercent:
			r.Percent = new(math.Float64frombits(f.varint))
		case fieldMessage:
			r.Message = f.bytes
		case fieldAttempt:
			r.Attempt = f.int()
		case fieldMaxAttempts:
			r.MaxAttempts = f.int()
		case fieldSequence:
			r.Sequence = f.varint
		case fieldCreated:
			epoch = f.signed()
			r.CreatedAt = f.time(0)
		case fieldUpdated:
			r.UpdatedAt = f.time(epoch)
		case fieldStarted:
			r.StartedAt = f.time(epoch)
		case fieldExpires:
			r.ExpiresAt = f.time(epoch)
		case fieldRetention:
			r.Retention = time.Duration(f.int64())
		case fieldInputType:
			r.Input.Type = f.bytes
		case fieldInputSize:
			r.Input.Size = f.int64()
		case fieldFingerprint:
			r.Fingerprint = f.bytes
		case fieldTopic:
			r.Topic = f.bytes
		case fieldEnded:
			r.EndedAt = f.time(epoch)
		case fieldResult:
			r.Result, outOfLine = new(lifecycle.Result), 0
			ok = f.nested(func(f field) {
				switch f.number {
				case 1:
					r.Result.Type = f.bytes
				case 2:
					r.Result.Size = f.int64()
				case 3:
					r.Result.Value = json.RawMessage(f.bytes)
				case 4:
					outOfLine = f.varint
				}
			})
			ok = ok && outOfLine <= math.MaxUint8 && (outOfLine == 0 || r.Result.Value == nil)
		case fieldPriority:
			r.Priority = f.int()
		case fieldFailures:
			r.Failures = f.int()
		case fieldCancelRequested:
			r.CancelRequested = f.varint != 0
		case fieldRepeated:
			r.Repeated = f.varint != 0
		case fieldCounted:
			r.Counted = f.varint != 0
		case fieldCountedWaiting:
			r.CountedWaiting = f.varint != 0
		case fieldError:
			r.Error = new(lifecycle.Failure)
			ok = f.texts(&r.Error.Code, &r.Error.Message, &r.Error.Detail, &r.Error.Trace)
		case fieldNotBefore:
			r.NotBefore = f.time(epoch)
		case fieldCall:
			r.Call = new(lifecycle.Call)
			ok = f.texts(&r.Call.Method, &r.Call.Path, &r.Call.Query, &r.Call.RawPath)
		case fieldHeader:
			var name, value string
			ok = f.texts(&name, &value)
			if r.Headers == nil {
				r.Headers = make(map[string]string)
			}
			r.Headers[name] = value
		case fieldWebhook:
			r.Webhook = new(lifecycle.Webhook)
			ok = f.nested(func(f field) {
				switch f.number {
				case 1:
					r.Webhook.Endpoint = f.bytes
				case 2:
					r.Webhook.Types = append(r.Webhook.Types, lifecycle.EventType(f.bytes))
				}
			})
		case fieldKey:
			r.Key = f.bytes
		case fieldBatch:
			r.Batch = new(lifecycle.Batch)
			ok = f.batch(r.Batch)
		case fieldBatchID:
			r.BatchID = f.bytes
		case fieldMember:
			r.Member = int32(f.int())
		case fieldLife:
			r.Life = f.bytes
		case fieldBatchLife:
			r.BatchLife = f.bytes
		case fieldStartedBy:
			r.StartedBy = f.bytes
		case fieldLease:
			r.Lease = time.Duration(f.int64())
		case fieldRetryDelay:
			r.RetryDelay = time.Duration(f.int64())
		case fieldQuestion:
			var schema, preset string
			r.Question = new(lifecycle.Question)
			ok = f.texts(&r.Question.Name, &r.Question.Message, &schema, &preset)
			r.Question.Schema, r.Question.Default = jsonOf(schema), jsonOf(preset)
		case fieldAsked:
			r.Asked = f.int()
		case fieldLeft:
			r.Left = time.Duration(f.int64())
		case fieldResumes:
			r.Resumes = f.varint != 0
		case fieldAnswersSize:
			r.AnswersSize = f.int64()
		case fieldConcurrency:
			ok = f.nested(func(f field) {
				switch f.number {
				case 1:
					r.Concurrency.Key = f.bytes
				case 2:
					r.Concurrency.Limit = f.int()
				case 3:
					r.Concurrency.Route = f.int()
				}
			})
		case fieldTimeout:
			r.Timeout = time.Duration(f.int64())
		case fieldRedriven:
			r.Redriven = f.int()
		case fieldPast:
			r.Past = f.int()
		case fieldHasOutput:
			r.HasOutput = f.varint != 0
		case fieldReported:
			ok = f.nested(func(f field) {
				switch f.number {
				case 1:
					r.Reported.Attempt = f.int()
				case 2:
					r.Reported.Digest = f.bytes
				}
			})
		}
		if !ok {
			return 0, errDamaged
		}
	}
	return byte(outOfLine), nil
}

// jsonOf returns JSON that was appended as a text, nil if none was.
func jsonOf(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
