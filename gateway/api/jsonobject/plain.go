package jsonobject

import "bytes"

// Plain reads a JSON object (RFC 8259) as reports mostly are, many thousand a second: of
// strings without escapes, and of numbers. It calls set with each name and value. If the object is
// another one, or is none, or set does not take a field, it returns false, and what was set does
// not count: the body is to be read by encoding/json, which also knows what is wrong with it. body
// is valid UTF-8.
func Plain(body []byte, set func(name, value []byte, text bool) bool) bool {
	rest, ok := bytes.CutPrefix(space(body), []byte{'{'})
	if !ok {
		return false
	}
	if rest = space(rest); len(rest) > 0 && rest[0] == '}' {
		return len(space(rest[1:])) == 0
	}
	for {
		var name []byte
		if name, rest = plainString(rest); name == nil {
			return false
		}
		if rest, ok = bytes.CutPrefix(space(rest), []byte{':'}); !ok {
			return false
		}
		rest = space(rest)
		value, after := plainString(rest)
		text := value != nil
		if !text {
			if value, after = plainNumber(rest); value == nil {
				return false
			}
		}
		if !set(name, value, text) {
			return false
		}
		rest = space(after)
		if len(rest) == 0 {
			return false
		}
		switch rest[0] {
		case ',':
			rest = space(rest[1:])
		case '}':
			return len(space(rest[1:])) == 0
		default:
			return false
		}
	}
}

func space(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// plainString returns what is between the quotes of a string without escapes, and what is behind
// it; nil if there is none.
func plainString(b []byte) (s, rest []byte) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return b[1:i:i], b[i+1:]
		case b[i] == '\\' || b[i] < ' ':
			return nil, nil
		}
	}
	return nil, nil
}

// plainNumber returns a number without an exponent, and what is behind it; nil if there is none.
func plainNumber(b []byte) (n, rest []byte) {
	i := 0
	digits := func() bool {
		from := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if len(b) > 0 && b[0] == '-' {
		i++
	}
	if first := i; !digits() || b[first] == '0' && i > first+1 {
		return nil, nil
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return nil, nil
		}
	}
	return b[:i:i], b[i:] // an exponent is not what may follow
}
