package codec

import (
	"encoding/binary"
	"errors"

	"github.com/hark-push/hark/lifecycle"
)

// EncodeBody returns a body as it is stored: the length of its type, the type, the bytes. It is
// never empty.
func EncodeBody(c lifecycle.Content) []byte {
	return appendBody(make([]byte, 0, binary.MaxVarintLen32+len(c.Type)+len(c.Data)), c)
}

func appendBody(dst []byte, c lifecycle.Content) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.Type)))
	dst = append(dst, c.Type...)
	return append(dst, c.Data...)
}

// MaxBodyHead is how many bytes of what EncodeBody wrote tell where those of the body begin, if its
// type is as long as the API takes it.
const MaxBodyHead = 512

// BodyBegin returns where in what EncodeBody wrote the bytes of the body begin. It reads no more
// than the head.
func BodyBegin(head []byte) (int, error) {
	length, n := binary.Uvarint(head)
	if n <= 0 || length > uint64(len(head)-n) {
		return 0, errBody
	}
	return n + int(length), nil
}

var errBody = errors.New("body is damaged")

// DecodeBody reads what EncodeBody wrote. The data are a part of value.
func DecodeBody(value []byte) (lifecycle.Content, error) {
	begin, err := BodyBegin(value)
	if err != nil {
		return lifecycle.Content{}, err
	}
	length, _ := binary.Uvarint(value)
	return lifecycle.Content{Type: string(value[begin-int(length) : begin]), Data: value[begin:]}, nil
}
