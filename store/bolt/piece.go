package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// ReadContent implements lifecycle.Pieces. Nobody who names a life learns of it, or of its result,
// before they are durable, and then they do not change: so it waits for no batch.
func (s *Store) ReadContent(
	ctx context.Context, of lifecycle.Ref, part lifecycle.Part, p []byte, offset int64,
) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	defer recoverDamage(&err)
	_, err = s.journal.snapshot(func(tx *bolt.Tx) error {
		if _, err := s.readRecord(tx, of); err != nil { // the bodies belong to whichever is there
			return err
		}
		if n, err = s.readPieces(tx, of.ID, part, p, offset); err != nil {
			return s.damaged(of.ID, partName(part), err)
		}
		if n >= 0 {
			s.journal.touched(n)
			return nil
		}
		content, err := s.noBody(tx, of.ID, part, true)
		if err != nil {
			return s.bodyError(of.ID, part, err)
		}
		n = copy(p, content.Data[min(offset, int64(len(content.Data))):])
		s.journal.touched(n)
		return nil
	})
	return max(n, 0), err
}

// readPieces fills p with bytes of a body, from an offset on, and returns how many that were; -1 if
// there are no pieces of it. It reads the first piece, which tells where the others are, and those
// that are asked for.
func (s *Store) readPieces(tx *bolt.Tx, id string, part lifecycle.Part, p []byte, offset int64) (int, error) {
	cursor := tx.Bucket(piecesBucket).Cursor()
	var buf [128]byte
	want := pieceKey(buf[:0], id, part, 0)
	key, stored := cursor.Seek(want)
	if !bytes.Equal(key, want) { // then the others, if there are some, are no body yet
		return -1, nil
	}
	piece, err := unseal(true, piecesBucket, key, stored)
	if err != nil {
		return 0, err
	}
	size, head := binary.Uvarint(piece)
	if head <= 0 || size > 1<<40 {
		return 0, errPieces
	}
	piece = piece[head:]
	begin, err := codec.BodyBegin(piece)
	if err != nil {
		return 0, err
	}
	// Both are offsets in all pieces together.
	from, end := int64(begin)+offset, min(int64(begin)+offset+int64(len(p)), int64(size))
	// first is where this piece begins.
	n, first := 0, int64(0)
	for from < end {
		if last := first + int64(len(piece)); from >= first && from < last {
			copied := copy(p[n:], piece[from-first:min(end, last)-first])
			n, from = n+copied, from+int64(copied)
			if from >= end {
				break
			}
		}
		// All pieces but the first and the last have the same size.
		number := (from + int64(head)) / pieceSize
		first = number*pieceSize - int64(head)
		binary.BigEndian.PutUint32(want[len(want)-4:], uint32(number))
		if key, stored = cursor.Seek(want); !bytes.Equal(key, want) {
			return 0, errPieces
		}
		if piece, err = unseal(true, piecesBucket, key, stored); err != nil {
			return 0, err
		}
		if from >= first+int64(len(piece)) {
			return 0, errPieces
		}
	}
	return n, nil
}

// residentBytes is how much of bodies is read until the pages of the file that were mapped for it
// are let go.
const residentBytes = 16 << 20

// touched counts what was read or written of bodies, under mu. Their pages stay mapped, and count
// as the process's memory, although the system has them anyway and whoever reads something else
// does not need them.
func (j *journal) touched(n int) {
	if j.resident.Add(int64(n)) >= residentBytes {
		j.letGo()
	}
}

// letGo lets go of the pages of the file that are mapped, if bodies were read or written since it
// did so last. Called under mu.
func (j *journal) letGo() {
	if j.resident.Swap(0) == 0 || j.tx == nil {
		return
	}
	info, err := os.Stat(j.db.Path())
	if err != nil {
		return
	}
	// What is let go must be mapped. bbolt maps all pages that a transaction has, and all of the
	// file that was there when it mapped it; a damaged file may claim to have more than that.
	letGo(j.db.Info().Data, int(min(info.Size(), j.tx.Size())))
}
