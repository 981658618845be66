// Package jsonobject reads JSON objects that callers send, so that all that is wrong with one is
// told, each with a pointer to it.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/strictjson"
)

// Bounds on what is told apart in a body that says what to do, while it is read. A body of some
// megabytes can have as many millions of members, and what is kept of each takes more memory than
// it has itself. No resource knows nearly as many.
const (
	MaxMembers  = 256  // of an object
	MaxElements = 1000 // of an array
)

// Read reads a JSON object, and tells what in it does not mean one thing: members that stand
// there twice, and strings that are no Unicode. at is what the pointers to those begin with. In the
// members that are opaque, which are somebody else's, only UTF-8 counts. The fields share the bytes
// of the body.
func Read(body []byte, at string, opaque ...string) (map[string]json.RawMessage, []problem.FieldError, error) {
	if !json.Valid(body) {
		detail := "The body is not JSON."
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, new(json.RawMessage))); ok {
			detail = fmt.Sprintf("The body is not JSON: at byte %d: %v.", syntax.Offset, syntax)
		}
		return nil, nil, &problem.Details{Kind: problem.Malformed, Detail: detail}
	}
	fields, faults := strictjson.Object(body, MaxMembers)
	switch {
	case fields == nil:
		return nil, nil, &problem.Details{Kind: problem.Malformed, Detail: "The body is not a JSON object."}
	case len(fields)+len(faults) >= MaxMembers:
		return nil, nil, problem.InvalidFields(problem.At(at, "has "+strconv.Itoa(MaxMembers)+" members or more: no such object has as many"))
	}
	if !utf8.Valid(body) {
		faults = slices.DeleteFunc(strictjson.Check(body, "", problem.MaxErrors), func(f strictjson.Fault) bool { return f.Detail != strictjson.NotUTF8 })
		return nil, nil, &problem.Details{Kind: problem.Malformed, Detail: "The body is not UTF-8.", Errors: fieldErrors(faults, at)}
	}
	for name, raw := range InOrder(fields) {
		if !slices.Contains(opaque, name) {
			faults = append(faults, strictjson.Check(raw, "/"+strictjson.Escape(name), problem.MaxErrors)...)
		}
	}
	return fields, fieldErrors(faults[:min(len(faults), problem.MaxErrors)], at), nil
}

// InOrder yields members in the order of their names, so that the same body gets the same errors in
// the same order.
func InOrder(fields map[string]json.RawMessage) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if !yield(name, fields[name]) {
				return
			}
		}
	}
}

// fieldErrors returns faults as clients see them. at is what their pointers begin with.
func fieldErrors(faults []strictjson.Fault, at string) []problem.FieldError {
	errs := make([]problem.FieldError, len(faults))
	for i, f := range faults {
		errs[i] = problem.At(at+f.Pointer, f.Detail)
	}
	return errs
}

// Crowded says of a value that it has more elements or members than may be told apart; "" if it has
// not. It is valid JSON.
func Crowded(value json.RawMessage) string {
	var most int
	var what string
	switch {
	case bytes.HasPrefix(value, []byte("[")):
		most, what = MaxElements, " elements"
	case bytes.HasPrefix(value, []byte("{")):
		most, what = MaxMembers, " members"
	default:
		return ""
	}
	n := 0
	if strictjson.Elements(value, func(json.RawMessage) bool { n++; return n <= most }) {
		return "must have at most " + strconv.Itoa(most) + what
	}
	return ""
}
