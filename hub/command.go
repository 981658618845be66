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
	Form    string
	Token   string
}

// FormError is an ErrMessage: a message asks for a form that there is not.
type FormError struct{ Form string }

func (e *FormError) Error() string {
	return fmt.Sprintf("%v: \"form\" is %q, and must be %q or %q", ErrMessage, e.Form, FormFull, FormThin)
}

// Unwrap returns ErrMessage.
func (*FormError) Unwrap() error { return ErrMessage }

// membersOf are the members that a message of each op has besides op itself.
var membersOf = map[string][]string{
	"subscribe":   {"channel", "after", "form"},
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
		case "form":
			to = &c.Form
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
		if name == "form" && c.Form != FormFull && c.Form != FormThin {
			return c, &FormError{c.Form}
		}
	}
	return c, nil
}
