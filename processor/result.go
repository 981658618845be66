package processor

import (
	"encoding/json"

	"github.com/hark-push/hark/lifecycle"
)

// Result is what came out of the work: a body with its media type. The zero
// value is success without a result.
type Result struct {
	Type string // media type; "" with Data means application/octet-stream
	Data []byte // handed over: not to be changed after Process has returned
}

// Bytes is a result of any media type, stored and served byte for byte.
func Bytes(mediaType string, data []byte) Result {
	return Result{Type: mediaType, Data: data}
}

// JSON is the result of v encoded as JSON. It returns the error as well, so that
// a handler can end with
//
//	return processor.JSON(v)
//
// A value that cannot be encoded will not be encodable next time either: the
// error is one of [Fail].
func JSON(v any) (Result, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Result{}, Fail("bad-result", "The result could not be encoded.", err)
	}
	return Result{Type: "application/json", Data: data}, nil
}

// content returns what is stored of r, nil if there is nothing.
func (r Result) content() *lifecycle.Content {
	if r.Type == "" && r.Data == nil {
		return nil
	}
	if r.Type == "" {
		r.Type = "application/octet-stream"
	}
	return &lifecycle.Content{Type: r.Type, Data: r.Data}
}
