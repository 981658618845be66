package parts

import (
	"encoding/binary"
	"errors"

	"github.com/hark-push/hark/lifecycle"
)

// EncodeBody returns a body as it is stored: the length of its type, the type, the bytes. It is never empty.
func EncodeBody(c lifecycle.Content) []byte {
	value := make([]byte, 0, binary.MaxVarintLen32+len(c.Type)+len(c.Data))
	value = binary.AppendUvarint(value, uint64(len(c.Type)))
	value = append(value, c.Type...)
	return append(value, c.Data...)
}

// DecodeBody reads what EncodeBody wrote. The data are a part of value.
func DecodeBody(value []byte) (lifecycle.Content, error) {
	length, n := binary.Uvarint(value)
	if n <= 0 || length > uint64(len(value)-n) {
		return lifecycle.Content{}, errors.New("body is damaged")
	}
	rest := value[n:]
	return lifecycle.Content{Type: string(rest[:length]), Data: rest[length:]}, nil
}
