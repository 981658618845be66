// Package strictjson tells what encoding/json passes over in silence, because two programs that
// read the same text may then take it for two different things (RFC 8259, sections 4 and 8.2):
// members of one object that have the same name, and strings that are no Unicode. It imports
// nothing of ours.
package strictjson

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Fault is a place in a JSON text that does not mean one thing.
type Fault struct {
	Pointer string // RFC 6901, "" for the whole text
	Detail  string // goes on where the pointer ends, like "stands there twice"
}

// Details of a [Fault].
const (
	Twice   = "stands there twice: give it once"
	NotUTF8 = "is not UTF-8"
	Halved  = "holds half of a surrogate pair, which is no Unicode: write the character itself, or both halves"
)

// Object splits an object into its members, by name, and tells what is wrong with their names. What
// is in the values is not looked at. text must be valid JSON, as json.Valid says; of anything but
// an object there are no members, which are nil then. It stops behind the member that makes most of
// them, because what is kept of one takes more memory than it has in a text.
func Object(text []byte, most int) (members map[string]json.RawMessage, faults []Fault) {
	text = space(text)
	if len(text) == 0 || text[0] != '{' {
		return nil, nil
	}
	members = make(map[string]json.RawMessage)
	n := 0
	each(text, func(name, value []byte) bool {
		key, fault := unquote(name)
		if fault != "" {
			faults = append(faults, Fault{"/" + Escape(key), fault})
		}
		if _, twice := members[key]; twice {
			faults = append(faults, Fault{"/" + Escape(key), Twice})
		}
		members[key] = value
		n++
		return n < most
	})
	return members, faults
}

// Elements calls f with each element of an array, or each value of an object, until f returns
// false, and reports whether it did. text must be valid JSON, as json.Valid says, and an array or
// an object.
func Elements(text []byte, f func(value json.RawMessage) bool) (stopped bool) {
	return each(space(text), func(_, value []byte) bool { return f(value) })
}

// Check tells what is wrong anywhere in a text, most things at most. text must be valid JSON, as
// json.Valid says. at is what the pointers begin with.
func Check(text []byte, at string, most int) []Fault {
	c := checker{most: most, at: at}
	if text = space(text); len(text) > 0 {
		c.value(text)
	}
	return c.faults
}

// maxNames is how many names of an object are remembered, to tell that one comes twice: what is
// larger is no object that anybody interprets, and must not take many times the memory of its text.
const maxNames = 10_000

// checker goes through a text once, however deep it is.
type checker struct {
	faults []Fault
	most   int
	at     string
	path   []step // to where it is
}

// step leads from an object, or an array, into a value of it.
type step struct {
	name  string // of the member
	index int    // of the element, -1 in an object
}

func (c *checker) full() bool { return len(c.faults) >= c.most }

func (c *checker) wrong(detail string) {
	if !c.full() {
		c.faults = append(c.faults, Fault{c.pointer(), detail})
	}
}

// pointer returns the way to where the checker is. One that is too long to be of use is cut.
func (c *checker) pointer() string {
	at := []byte(c.at)
	for _, s := range c.path {
		if len(at) > longestPointer {
			return string(append(at, "/…"...))
		}
		at = append(at, '/')
		if s.index >= 0 {
			at = strconv.AppendInt(at, int64(s.index), 10)
		} else {
			at = append(at, Escape(s.name)...)
		}
	}
	return string(at)
}

// value looks at the value that a text begins with, and returns how long it is. It may stop within
// once there are faults enough.
func (c *checker) value(text []byte) int {
	switch text[0] {
	case '"':
		n := stringEnd(text)
		if _, fault := unquote(text[:n]); fault != "" {
			c.wrong(fault)
		}
		return n
	case '{', '[':
		last := len(c.path)
		c.path = append(c.path, step{})
		n := c.inside(text, last)
		c.path = c.path[:last]
		return n
	default:
		return valueEnd(text)
	}
}

// inside looks at an object or an array, whose step is the last one of the path.
func (c *checker) inside(text []byte, last int) int {
	object := text[0] == '{'
	var seen map[string]bool
	if object {
		seen = make(map[string]bool)
	}
	at := 1
	skip := func() { at = len(text) - len(space(text[at:])) }
	for n := 0; !c.full(); n++ {
		if skip(); text[at] == '}' || text[at] == ']' {
			return at + 1
		}
		c.path[last] = step{index: n}
		if object {
			end := at + stringEnd(text[at:])
			key, fault := unquote(text[at:end])
			c.path[last] = step{name: key, index: -1}
			switch {
			case fault != "":
				c.wrong(fault)
			case seen[key]:
				c.wrong(Twice)
			}
			if len(seen) < maxNames {
				seen[key] = true
			}
			at = end
			skip()
			at++ // the colon
			skip()
		}
		at += c.value(text[at:])
		if at >= len(text) { // it was full within
			return len(text)
		}
		if skip(); text[at] == ',' {
			at++
		}
	}
	return len(text)
}

// Nobody finds a place by more of its name, or of the way to it, than that, in bytes.
const (
	longestName    = 200
	longestPointer = 1000
)

// Escape returns a name as a part of a JSON pointer (RFC 6901, section 3). A long name is cut, and
// ends with an ellipsis.
func Escape(name string) string {
	if len(name) > longestName {
		end := longestName
		for end > 0 && !utf8.RuneStart(name[end]) {
			end--
		}
		name = name[:end] + "…"
	}
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// each calls f with the members of an object, or the elements of an array, which have no name,
// until f returns false, and reports whether it did. text is valid JSON, and what is behind the
// value is not looked at.
func each(text []byte, f func(name, value []byte) bool) (stopped bool) {
	object := text[0] == '{'
	rest := space(text[1:])
	for len(rest) > 0 && rest[0] != '}' && rest[0] != ']' {
		var name []byte
		if object {
			n := stringEnd(rest)
			name, rest = rest[:n], space(rest[n:])
			rest = space(rest[1:]) // the colon
		}
		n := valueEnd(rest)
		if !f(name, rest[:n:n]) {
			return true
		}
		if rest = space(rest[n:]); len(rest) > 0 && rest[0] == ',' {
			rest = space(rest[1:])
		}
	}
	return false
}

// valueEnd returns how long the value is that a text begins with.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
		depth := 0
		for i := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				i += stringEnd(b[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return len(b)
	}
	if i := bytes.IndexAny(b, ",]} \t\r\n"); i >= 0 {
		return i
	}
	return len(b)
}

// stringEnd returns how long the string is that a text begins with, with its quotes.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// unquote returns what a string stands for, as encoding/json has it, and what that has replaced in
// it.
func unquote(quoted []byte) (text, fault string) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		text = string(quoted[1 : len(quoted)-1])
		if !utf8.ValidString(text) {
			// There is a replacement for each byte that is none, as encoding/json does it.
			return string([]rune(text)), NotUTF8
		}
		return text, ""
	}
	_ = json.Unmarshal(quoted, &text) // it is valid
	switch {
	case !utf8.Valid(quoted):
		fault = NotUTF8
	case halved(quoted):
		fault = Halved
	}
	return text, fault
}

// halved reports whether a string has an escape of half of a surrogate pair without the other half.
func halved(quoted []byte) bool {
	for i := 0; i+1 < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		i++
		if quoted[i] != 'u' {
			continue
		}
		switch unit := unitAt(quoted[i+1:]); {
		case unit >= 0xD800 && unit < 0xDC00: // has to be followed by a low one
			rest := quoted[i+5:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return true
			}
			if low := unitAt(rest[2:]); low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 10
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		default:
			i += 4
		}
	}
	return false
}

// unitAt reads the four hexadecimal digits of an escape, which there are.
func unitAt(digits []byte) int {
	n, err := strconv.ParseUint(string(digits[:min(4, len(digits))]), 16, 32)
	if err != nil {
		return 0
	}
	return int(n)
}

func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }
