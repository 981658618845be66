package lifecycle

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// AppendRecord appends the JSON form of r, in which stores keep it, to dst: what encoding/json reads back as r, and
// but for the escaping of strings and the order of members what it would write. What r.Result holds as JSON must be that.
//
// It is written by hand because it runs once for every step of every request. A test fails when a field is
// forgotten here.
func AppendRecord(dst []byte, r *Request) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, r.ID)
	dst = append(dst, `,"owner":`...)
	dst = appendString(dst, r.Owner)
	dst = append(dst, `,"route":`...)
	dst = appendString(dst, r.Route)
	dst = appendText(dst, "topic", r.Topic)
	dst = appendNumber(dst, "priority", int64(r.Priority))
	dst = append(dst, `,"status":`...)
	dst = appendString(dst, string(r.Status))
	dst = appendText(dst, "step", r.Step)
	if r.Percent != nil {
		dst = append(dst, `,"percent":`...)
		dst = strconv.AppendFloat(dst, *r.Percent, 'g', -1, 64)
	}
	dst = appendText(dst, "message", r.Message)
	dst = appendNumber(dst, "attempt", int64(r.Attempt))
	dst = appendNumber(dst, "failures", int64(r.Failures))
	dst = appendNumber(dst, "maxAttempts", int64(r.MaxAttempts))
	dst = appendMark(dst, "cancelRequested", r.CancelRequested)
	dst = appendMark(dst, "repeated", r.Repeated)
	if r.Error != nil {
		dst = append(dst, `,"error":{"code":`...)
		dst = appendString(dst, r.Error.Code)
		dst = append(dst, `,"message":`...)
		dst = appendString(dst, r.Error.Message)
		dst = appendText(dst, "detail", r.Error.Detail)
		dst = appendText(dst, "trace", r.Error.Trace)
		dst = append(dst, '}')
	}
	if r.Result != nil {
		dst = append(dst, `,"result":{`...)
		dst = appendInfo(dst, r.Result.ContentInfo)
		if r.Result.Value != nil {
			dst = append(dst, `,"value":`...)
			dst = append(dst, r.Result.Value...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"sequence":`...)
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	dst = append(dst, `,"createdAt":`...)
	dst = appendInstant(dst, r.CreatedAt)
	dst = append(dst, `,"updatedAt":`...)
	dst = appendInstant(dst, r.UpdatedAt)
	dst = appendInstantOf(dst, "startedAt", r.StartedAt)
	dst = appendInstantOf(dst, "endedAt", r.EndedAt)
	dst = append(dst, `,"expiresAt":`...)
	dst = appendInstant(dst, r.ExpiresAt)
	dst = appendInstantOf(dst, "notBefore", r.NotBefore)
	dst = append(dst, `,"retention":`...)
	dst = strconv.AppendInt(dst, int64(r.Retention), 10)
	dst = append(dst, `,"input":{`...)
	dst = appendInfo(dst, r.Input)
	dst = append(dst, '}')
	if r.Call != nil {
		dst = append(dst, `,"call":{"method":`...)
		dst = appendString(dst, r.Call.Method)
		dst = append(dst, `,"path":`...)
		dst = appendString(dst, r.Call.Path)
		dst = appendText(dst, "query", r.Call.Query)
		dst = append(dst, '}')
	}
	if r.Headers != nil {
		dst = append(dst, `,"headers":{`...)
		for i, name := range slices.Sorted(maps.Keys(r.Headers)) {
			dst = appendComma(dst, i)
			dst = appendString(dst, name)
			dst = append(dst, ':')
			dst = appendString(dst, r.Headers[name])
		}
		dst = append(dst, '}')
	}
	if r.Webhook != nil {
		dst = append(dst, `,"webhook":{"endpoint":`...)
		dst = appendString(dst, r.Webhook.Endpoint)
		if r.Webhook.Types != nil {
			dst = append(dst, `,"types":[`...)
			for i, t := range r.Webhook.Types {
				dst = appendComma(dst, i)
				dst = appendString(dst, string(t))
			}
			dst = append(dst, ']')
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"fingerprint":`...)
	dst = appendString(dst, r.Fingerprint)
	dst = appendText(dst, "key", r.Key)
	return append(dst, '}')
}

func appendInfo(dst []byte, c ContentInfo) []byte {
	dst = append(dst, `"type":`...)
	dst = appendString(dst, c.Type)
	dst = append(dst, `,"size":`...)
	return strconv.AppendInt(dst, c.Size, 10)
}

// appendMember appends a comma and a member's name. These functions leave out what is zero.
func appendMember(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendText(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(appendMember(dst, name), s)
}

func appendNumber(dst []byte, name string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(appendMember(dst, name), n, 10)
}

func appendMark(dst []byte, name string, is bool) []byte {
	if !is {
		return dst
	}
	return append(appendMember(dst, name), "true"...)
}

func appendInstantOf(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendInstant(appendMember(dst, name), t)
}

// appendInstant appends t in RFC 3339 with all its digits.
func appendInstant(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

func appendComma(dst []byte, i int) []byte {
	if i == 0 {
		return dst
	}
	return append(dst, ',')
}
