package hub

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// Cursor is where a client wants to go on: behind an offset of a channel. Where offsets may begin
// anew under the same name, the epoch says which numbering the offset is of. A client that names
// none, because it counts by itself, is believed.
type Cursor struct {
	Offset uint64
	Epoch  string // "" if the client does not say
}

var errCursor = errors.New("an offset is a whole number, behind which a minus and the epoch may stand, of digits and small letters")

// BeyondAll is an offset that no channel comes to, and that every client can hold: JSON's numbers
// are exact up to it where they are floats (RFC 8259, section 6).
const BeyondAll = 1<<53 - 1

// ParseCursor reads what [Cursor.String] writes: "7", or "7-epoch".
func ParseCursor(text string) (Cursor, error) {
	digits, epoch, named := strings.Cut(text, "-")
	offset, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || named && epoch == "" || strings.HasPrefix(digits, "+") || strings.Trim(epoch, "-0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return Cursor{}, errCursor
	}
	return Cursor{offset, epoch}, nil
}

// String is the cursor as an id of a server-sent event, of which clients make the header
// Last-Event-ID.
func (c Cursor) String() string { return string(c.append(nil)) }

func (c Cursor) append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, c.Offset, 10)
	if c.Epoch != "" {
		dst = append(append(dst, '-'), c.Epoch...)
	}
	return dst
}

// UnmarshalJSON takes a number, or a string as String writes it.
func (c *Cursor) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		var err error
		*c, err = ParseCursor(s)
		return err
	}
	*c = Cursor{}
	return json.Unmarshal(text, &c.Offset)
}

// offsetIn returns the offset behind which a follower of a channel goes on, nil if it has no
// cursor. One of another epoch is beyond every end: the follower is told of the loss.
func (c *Cursor) offsetIn(channel Channel) *uint64 {
	switch {
	case c == nil:
		return nil
	case c.Epoch != "" && c.Epoch != channel.Epoch:
		return new(uint64(BeyondAll))
	}
	return &c.Offset
}
