// Package problem is how clients see errors: problem details (RFC 9457), and the types of them that
// there are. Which error becomes which is decided where calls are answered.
package problem

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"

	"github.com/hark-push/hark/lifecycle"
)

// Details is an error as clients see it: problem details (RFC 9457).
type Details struct { //nolint:errname // the RFC's name
	Kind       Kind
	Detail     string
	Errors     []FieldError   // of invalid input, at most MaxErrors
	More       int            // how many beside these
	Members    map[string]any // extension members
	RetryAfter int            // seconds, 0 for none
}

// FieldError is one thing that is wrong with the input.
type FieldError struct {
	// Pointer is a JSON pointer into the body (RFC 6901), ?name of a query parameter, the name of a
	// header field, or {name} of a part of the path.
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// At returns what is wrong at a place, see [FieldError].
func At(pointer, detail string) FieldError { return FieldError{pointer, detail} }

// Error implements [error].
func (p *Details) Error() string { return p.Kind.Title + ": " + p.Detail }

// MaxErrors is how many things that are wrong with one call are told at once.
const MaxErrors = 100

// maxDetail is how many bytes of a detail, or a pointer, are told: what a caller has sent may be in
// it.
const maxDetail = 2000

// InvalidFields is the problem of values that are not allowed, of which so many are told as may be.
func InvalidFields(errs ...FieldError) *Details {
	told := min(len(errs), MaxErrors)
	return &Details{Kind: Invalid, Detail: "Some values are not allowed.", Errors: errs[:told], More: len(errs) - told}
}

// MalformedAt is the problem of a call that cannot be read at a place: a name of a header field,
// ?name of an option, or {name} of a part of the path.
func MalformedAt(at, detail string) *Details {
	return &Details{Kind: Malformed, Detail: "The call cannot be read: see errors.", Errors: []FieldError{{at, detail}}}
}

// JSON returns the problem as one line of JSON.
func (p *Details) JSON(instance string) []byte {
	members := map[string]any{
		"type": "/problems/" + p.Kind.Name, "title": p.Kind.Title, "status": p.Kind.Status,
	}
	if p.Detail != "" {
		members["detail"] = lifecycle.Clip(p.Detail, maxDetail)
	}
	if instance != "" {
		members["instance"] = lifecycle.Clip(instance, maxDetail)
	}
	if len(p.Errors) > 0 {
		told := make([]FieldError, len(p.Errors))
		for i, e := range p.Errors {
			told[i] = FieldError{lifecycle.Clip(e.Pointer, maxDetail), lifecycle.Clip(e.Detail, maxDetail)}
		}
		members["errors"] = told
	}
	if p.More > 0 {
		members["moreErrors"] = p.More
	}
	maps.Copy(members, p.Members)
	b, err := json.Marshal(members)
	if err != nil { // members are plain values
		panic(err)
	}
	return b
}

// Instance returns a path as a URI reference (RFC 9457, section 3.1.5): as it was sent, with the
// bytes escaped that none may have.
func Instance(path []byte) string {
	if !bytes.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"<>\^{|}`+"`", r) }) {
		return string(path)
	}
	var b strings.Builder
	const digits = "0123456789ABCDEF"
	for _, c := range path {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			c = digits[c&0xf]
		}
		b.WriteByte(c)
	}
	return b.String()
}
