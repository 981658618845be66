package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// Decode reads fields into a struct, one by one, so that each that is wrong is told. at is
// what a pointer to one begins with.
func Decode(fields map[string]json.RawMessage, at string, into any) (errs []problem.FieldError) {
	for name, raw := range InOrder(fields) {
		if string(raw) == `""` && name != "description" && HasField(into, name) {
			errs = append(errs, problem.At(at+strictjson.Escape(name), "is empty: say what is meant, or leave it out"))
			continue
		}
		var err error = &unknownFieldError{name, into}
		if why := Crowded(raw); why != "" {
			errs = append(errs, problem.At(at+strictjson.Escape(name), why))
			continue
		}
		if HasField(into, name) {
			var one []byte
			if one, err = json.Marshal(map[string]json.RawMessage{name: raw}); err == nil {
				decoder := json.NewDecoder(bytes.NewReader(one))
				decoder.DisallowUnknownFields()
				err = decoder.Decode(into)
			}
		}
		if err != nil {
			errs = append(errs, problem.At(at+strictjson.Escape(name), wrongField(err)))
		}
	}
	return errs
}

// unknownFieldError is a field that a struct does not have.
type unknownFieldError struct {
	name string
	of   any // a pointer to the struct
}

func (e *unknownFieldError) Error() string { return "unknown field " + e.name }

// HasField reports whether what a pointer leads to has a field of exactly that name: of a struct
// encoding/json would take URL for url, and of the two whichever comes last.
func HasField(of any, name string) bool {
	return reflect.TypeOf(of).Elem().Kind() == reflect.Map || slices.Contains(suggest.Fields(of), name)
}

func wrongField(err error) string {
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "must not be a JSON " + mistyped.Value
	}
	if errors.Is(err, field.ErrDuration) {
		return field.ErrDuration.Error()
	}
	if unknown, ok := errors.AsType[*unknownFieldError](err); ok {
		return "is not a field of this resource" + suggest.Mean(unknown.name, suggest.Fields(unknown.of))
	}
	return "is not a field of this resource"
}
