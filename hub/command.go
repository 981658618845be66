package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// command is what a client may send.
type command struct {
	Op      string
	Channel string
	After   *Cursor
	Token   string
}

// parseCommand reads a JSON object with the members of a command, each once and by its exact name:
// encoding/json would take OP for op, and the last of two, which somebody in between may have read
// in another way.
func parseCommand(text []byte) (c command, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return c, errors.Join(ErrMessage, err)
	}
	members := []struct {
		name string
		into any
		seen bool
	}{{name: "op", into: &c.Op}, {name: "channel", into: &c.Channel}, {name: "after", into: &c.After}, {name: "token", into: &c.Token}}
next:
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return c, errors.Join(ErrMessage, err)
		}
		for i := range members {
			m := &members[i]
			if name != m.name {
				continue
			}
			if m.seen {
				return c, fmt.Errorf("%w: %s twice", ErrMessage, m.name)
			}
			if err := decoder.Decode(m.into); err != nil {
				return c, errors.Join(ErrMessage, err)
			}
			m.seen = true
			continue next
		}
		return c, fmt.Errorf("%w: a member that is not known", ErrMessage)
	}
	if _, err := decoder.Token(); err != nil { // the end of the object
		return c, errors.Join(ErrMessage, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("%w: more than an object", ErrMessage)
	}
	return c, nil
}
