package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// pieceSize is how much of a body one value holds, in bytes: four of them, with keys as usual, fill
// a page of a file without a bound. bbolt needs pages in a row for what is larger than a page, and
// a file in which all is used and freed again soon has no long rows.
const pieceSize = 3900

func pieceKey(dst []byte, id string, p lifecycle.Part, n int) []byte {
	return binary.BigEndian.AppendUint32(bodyKey(dst, id, p), uint32(n))
}

// firstRoom is how much of a body of a size the first piece holds, behind the size.
func firstRoom(size int) int {
	var head [binary.MaxVarintLen64]byte
	return pieceSize - binary.PutUvarint(head[:], uint64(size))
}

func firstPiece(dst, body []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(body))), body[:min(firstRoom(len(body)), len(body))]...)
}

func (b *batch) putPiece(id string, p lifecycle.Part, n int, piece []byte) {
	b.key = pieceKey(b.key[:0], id, p, n)
	b.put(piecesBucket, b.key, piece)
}

// deletePieces deletes the pieces whose keys begin with a prefix.
func (b *batch) deletePieces(prefix []byte) {
	var keys [][]byte // gathered first: a cursor does not outlive a change
	for cursor, key := cursorAt(b.bucket(piecesBucket), prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	for _, key := range keys {
		b.delete(piecesBucket, key)
	}
}

// deleteBodies deletes all that was submitted with a request and came out of it.
func (b *batch) deleteBodies(id string) {
	b.deletePieces(append([]byte(id), 0x00))
	for _, part := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
		b.key = bodyKey(b.key[:0], id, part)
		if b.bucket(bodiesBucket).Get(b.key) != nil {
			b.delete(bodiesBucket, b.key)
		}
	}
}

func cursorAt(b *bolt.Bucket, key []byte) (*bolt.Cursor, []byte) {
	cursor := b.Cursor()
	found, _ := cursor.Seek(key)
	return cursor, found
}

// partName is how a part is called in errors.
func partName(p lifecycle.Part) string {
	switch p {
	case lifecycle.Input:
		return "the content"
	case lifecycle.Answers:
		return "the answers"
	default:
		return "the result"
	}
}

var errPieces = errors.New("a piece of it is missing")

// body returns what was submitted with a request, or what came out; lifecycle.ErrNotFound if there
// is no such request, or it has no such part. known: the request is there.
func (s *Store) body(tx *bolt.Tx, id string, p lifecycle.Part, known bool) (lifecycle.Content, error) {
	raw, err := s.pieces(tx, id, p)
	var content lifecycle.Content
	switch {
	case err == nil && raw == nil:
		content, err = s.noBody(tx, id, p, known)
	case err == nil:
		content, err = codec.DecodeBody(raw)
	}
	if err != nil {
		return lifecycle.Content{}, s.bodyError(id, p, err)
	}
	return content, nil
}

// bodyError is what is said of a body that was not read.
func (s *Store) bodyError(id string, p lifecycle.Part, err error) error {
	if _, ok := errors.AsType[*lifecycle.DamageError](err); ok || errors.Is(err, lifecycle.ErrNotFound) {
		return err
	}
	return s.damaged(id, partName(p), err)
}

// noBody says why there are no pieces of a body: the file is from before there were any, or there
// need not be a body.
func (s *Store) noBody(tx *bolt.Tx, id string, p lifecycle.Part, known bool) (lifecycle.Content, error) {
	if value := tx.Bucket(bodiesBucket).Get(bodyKey(nil, id, p)); value != nil {
		content, err := codec.DecodeBody(value)
		content.Data = bytes.Clone(content.Data) // the file's
		return content, err
	}
	if !known || p != lifecycle.Input {
		r, err := s.record(tx, id)
		if err != nil {
			return lifecycle.Content{}, err
		}
		if p == lifecycle.Output && r.Result == nil || p == lifecycle.Answers && r.AnswersSize == 0 {
			return lifecycle.Content{}, lifecycle.ErrNotFound
		}
	}
	return lifecycle.Content{}, errGone
}

// pieces puts a body together; nil if there is none.
func (s *Store) pieces(tx *bolt.Tx, id string, p lifecycle.Part) ([]byte, error) {
	var body []byte
	var size uint64
	cursor := tx.Bucket(piecesBucket).Cursor()
	var buf [128]byte
	want := pieceKey(buf[:0], id, p, 0)
	key, stored := cursor.Seek(want)
	if !bytes.Equal(key, want) { // then the others, if there are some, are no body yet
		return nil, nil
	}
	for n := 0; n == 0 || uint64(len(body)) < size; n++ {
		binary.BigEndian.PutUint32(want[len(want)-4:], uint32(n))
		if !bytes.Equal(key, want) {
			return nil, errPieces
		}
		piece, err := unseal(true, piecesBucket, key, stored)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			length, read := binary.Uvarint(piece)
			if read <= 0 || length > 1<<40 {
				return nil, errPieces
			}
			size, piece = length, piece[read:]
			body = make([]byte, 0, size)
		}
		body = append(body, piece...)
		key, stored = cursor.Next()
	}
	if uint64(len(body)) != size {
		return nil, errPieces
	}
	return body, nil
}
