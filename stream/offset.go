package stream

import (
	"fmt"
	"strconv"
	"strings"
)

// Offset is a position of a stream as clients hold it: opaque to them, sortable byte by byte within
// one stream (PROTOCOL.md, section 8), and with the tag of the stream, so that one of another
// stream, or of one that had the same name before, is known as such.
func (s *Stream) Offset(position uint64) string {
	return string(s.AppendOffset(nil, position))
}

// offsetDigits is how wide positions are.
const offsetDigits = 16

// AppendOffset appends [Stream.Offset].
func (s *Stream) AppendOffset(dst []byte, position uint64) []byte {
	return append(append(fmt.Appendf(dst, "%0*d", offsetDigits, position), '_'), s.Tag...)
}

// Position reads an offset of the stream. [ErrOffset] if it has none such: because it is of another
// stream or lies behind the end. The beginning is the same in all streams, so its tag does not
// count. A caller with the bytes at hand has to see that an offset of JSON messages is the
// beginning of one.
func (s *Stream) Position(offset string) (uint64, error) {
	digits, tag, ok := strings.Cut(offset, "_")
	if !ok || len(digits) != offsetDigits || strings.Trim(digits, "0123456789") != "" {
		return 0, ErrOffset
	}
	position, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || position > s.Tail || position > 0 && tag != s.Tag {
		return 0, ErrOffset
	}
	return position, nil
}
