package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// command is what a client may send.
type command struct {
	Op      string
	Channel string
	After   *Cursor
	Token   string
}

// membersOf are the members that a message of each op has besides op itself.
var membersOf = map[string][]string{
	"subscribe":   {"channel", "after"},
	"unsubscribe": {"channel"},
	"ping":        nil,
	"auth":        {"token"},
}

// parseCommand reads a message. One with a member that its op does not have, or that stands there
// twice, is refused: what it asks for would be passed over in silence. Errors wrap [ErrMessage], or
// are [ErrUnknownOp], with the command as far as it is known.
func parseCommand(text []byte) (command, error) {
	var c command
	wrong := func(format string, args ...any) (command, error) {
		return c, fmt.Errorf("%w: %w", ErrMessage, fmt.Errorf(format, args...))
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return wrong("it is not a JSON object")
	}
	var names []string
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return wrong("it is not JSON: %w", err)
		}
		if slices.Contains(names, name) {
			return wrong("%q stands there twice", name)
		}
		var to any
		switch names = append(names, name); name {
		case "op":
			to = &c.Op
		case "channel":
			to = &c.Channel
		case "after":
			to = &c.After
		case "token":
			to = &c.Token
		default:
			to = new(json.RawMessage) // to tell an unknown op from an unknown member
		}
		if err := decoder.Decode(to); err != nil {
			return wrong("%q: %w", name, err)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return wrong("it is not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return wrong("something is behind the object")
	}
	members, known := membersOf[c.Op]
	if !known {
		return c, ErrUnknownOp
	}
	for _, name := range names {
		if name != "op" && !slices.Contains(members, name) {
			return wrong("%q is no member of %s", name, c.Op)
		}
	}
	return c, nil
}
