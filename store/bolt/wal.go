package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// wal is the file of the write-ahead log: frames, one behind the other, of one batch each. After a checkpoint the
// next frame is written at the beginning again, over those that are not needed any more, so the file stays as large as
// it is and a sync has data to write but nothing of the file system. Which frames count is known by
// their numbers, which rise by one from batch to batch and never begin again.
//
// A frame is the length of what it holds (4 bytes), a CRC-32C (4) over the identity of the store, the number and
// what it holds, and the number (8). It is written, and synced, before the next one is begun: after a crash
// only the last one can be torn, and nobody was told of that.
type wal struct {
	file     walFile
	path     string
	identity []byte // of the store the log belongs to
	laid     int64  // up to where the file has its blocks
}

// walFile is what is needed of an [os.File]; Sync makes data durable, not times.
type walFile interface {
	io.WriterAt
	Sync() error
	Close() error
}

const (
	frameHeader = 16
	// layBytes is how much of the file is laid out at a time: with zeros, because to find blocks for a hole and to journal
	// that takes the file system longer than the data does.
	layBytes = 1 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [layBytes]byte

	errTorn = errors.New("the log is damaged: changes behind the damage were acknowledged")
	errGap  = errors.New("the log goes on from a newer state than that of the file, which may be an old copy; without the log the file can be used as it is")
)

// walPath is where the log of a store is.
func walPath(path string) string { return path + "-wal" }

// openWAL opens the log beside the file of a store, and makes it if there is none. It returns what it holds
// that comes after a batch.
func openWAL(path string, identity []byte, after uint64) (w *wal, log []byte, last uint64, err error) {
	path = walPath(path)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("log %s: %w", path, err), file.Close())
		}
	}()
	if log, err = io.ReadAll(file); err != nil {
		return nil, nil, 0, err
	}
	if len(log) == 0 { // that it is there must be as durable as what will be in it
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, nil, 0, err
		}
	}
	w = &wal{file: dataFile{file}, path: path, identity: identity, laid: int64(len(log))}
	end, last, err := w.scan(log, after)
	if err != nil {
		return nil, nil, 0, err
	}
	return w, log[:end:end], last, nil
}

// seal completes a frame whose header is still empty.
func (w *wal) seal(frame []byte, number uint64) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint64(frame[8:], number)
	binary.BigEndian.PutUint32(frame[4:], w.sum(frame))
}

func (w *wal) sum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(w.identity, castagnoli), castagnoli, frame[8:])
}

// cut returns the frame at the beginning of log and its number; nil if there is no whole one.
func (w *wal) cut(log []byte) (frame []byte, number uint64) {
	if len(log) < frameHeader {
		return nil, 0
	}
	size := uint64(binary.BigEndian.Uint32(log)) + frameHeader
	if size > uint64(len(log)) || binary.BigEndian.Uint32(log[4:]) != w.sum(log[:size]) {
		return nil, 0
	}
	return log[:size], binary.BigEndian.Uint64(log[8:])
}

// scan returns up to where log has the batches that follow one, without a gap, and the number of the last. It is an
// error if it must have had more.
func (w *wal) scan(log []byte, after uint64) (end int, last uint64, err error) {
	for {
		frame, number := w.cut(log[end:])
		switch {
		case frame == nil:
			// Torn, or an old frame that was written over in part, unless the one after it is there.
			if w.has(log[end:], after+2) {
				return 0, 0, errTorn
			}
			return end, after, nil
		case number <= after:
			return end, after, nil
		case number > after+1:
			return 0, 0, errGap
		}
		end += len(frame)
		after = number
	}
}

// has reports whether there is a frame with that number anywhere in log.
func (w *wal) has(log []byte, number uint64) bool {
	mark := binary.BigEndian.AppendUint64(nil, number)
	for from := 8; from < len(log); from++ {
		i := bytes.Index(log[from:], mark)
		if i < 0 {
			return false
		}
		from += i
		if frame, _ := w.cut(log[from-8:]); frame != nil {
			return true
		}
	}
	return false
}

// write puts frames at an offset and waits until they are on disk.
func (w *wal) write(frames []byte, at int64) error {
	if end := at + int64(len(frames)); end > w.laid {
		if _, err := w.file.WriteAt(zeros[:], end); err != nil {
			return err
		}
		w.laid = end + layBytes
	}
	if _, err := w.file.WriteAt(frames, at); err != nil {
		return err
	}
	return w.file.Sync()
}

// void makes a frame that could not be written, but may be there in part or as a whole, one that does not count, as far as
// that can be done.
func (w *wal) void(at int64) { _, _ = w.file.WriteAt(zeros[:frameHeader], at) }

// syncDir makes durable which files a directory has. Not every system can.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
