package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// wal is the file of the write-ahead log of another file: frames, one behind the other, each of which is durable or not as
// a whole. After a checkpoint, when the other file has what all of them hold, the next frame is written at the beginning
// again, over those that are not needed any more, so the log stays as large as it is and a sync has data to write but
// nothing of the file system. Which frames count is known by their numbers, which rise by one from frame to frame and never
// begin again.
//
// In front of the frames stands who the log belongs to and how far it was known to reach, see header: so it is told whether frames are
// missing that were acknowledged.
//
// A frame is the length of what it holds (4 bytes), a CRC-32C (4) over the identity of the other file, the number and
// what it holds, and the number (8). It is written, and synced, before the next one is begun: after a crash
// only the last one can be torn, and nobody was told of that. Offsets are those behind the header.
type wal struct {
	file walFile
	path string
	header
	laid    int64 // up to where the file has its blocks
	scratch [headerSize]byte
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
)

// What is wrong with the frames of a log.
var (
	errFrames = errors.New("frames are missing, or damaged, that were acknowledged")
	errLater  = errors.New("there are frames between the last one that is needed no more and the first of the log")
)

// openWAL opens the log at path. It returns the frames that follow on one, and the number of the last; no
// log if there is none.
func openWAL(path string, after uint64) (w *wal, frames []byte, last uint64, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, 0, nil
	}
	if err != nil {
		return nil, nil, 0, err
	}
	h := decodeHeader(content)
	if h == nil {
		return nil, nil, 0, nil
	}
	w = &wal{path: path, header: *h, laid: int64(len(content)) - headerBlock}
	end, last, err := w.recover(content, after)
	if err != nil {
		return nil, nil, 0, err
	}
	opened, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, 0, err
	}
	w.file = dataFile{opened}
	return w, content[headerBlock:][:end:end], last, nil
}

// recover returns up to where the content of a log has the frames that follow on one, and the number of the last one.
func (w *wal) recover(content []byte, after uint64) (end int, last uint64, err error) {
	if uint64(len(content)) < w.header.laid {
		return 0, 0, errFrames // it was cut
	}
	end, last, err = w.scan(content[headerBlock:], after)
	if err == nil && last < w.sealed {
		err = errFrames
	}
	return end, last, err
}

// createWAL makes the log of a file that has none, or none that is needed, with that header. It gets its name when it says
// whose it is.
func createWAL(path string, h header) (*wal, error) {
	w := &wal{path: path, header: h}
	w.header.laid = headerBlock
	made := path + ".new"
	if err := func() error {
		opened, err := os.OpenFile(made, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		w.file = opened
		_, err = opened.WriteAt(zeros[:headerBlock], 0)
		return errors.Join(err, w.introduce(), opened.Sync(), opened.Close())
	}(); err != nil {
		return nil, errors.Join(err, os.Remove(made))
	}
	if err := errors.Join(os.Rename(made, path), syncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	opened, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	w.file = dataFile{opened}
	return w, nil
}

// introduce writes the header, which is durable with the next sync. If it cannot be written, the one before is left.
func (w *wal) introduce() error {
	w.turn++
	_, err := w.file.WriteAt(w.append(w.scratch[:0]), int64(w.turn%2)*headerSlot)
	if err != nil {
		w.turn-- // what is torn now is written next
	}
	return err
}

// announce makes durable that the file may be of another generation from now on.
func (w *wal) announce(next uint64) error {
	w.next = next
	if err := w.introduce(); err != nil {
		return err
	}
	return w.file.Sync()
}

// begin notes that the file is of a generation, and has what everything up to a frame holds.
func (w *wal) begin(generation, number uint64) {
	w.generation, w.next, w.base, w.sealed = generation, 0, number, number
	_ = w.introduce() // else the log still says that this was about to come
}

// acknowledge notes that everything up to a frame is in the log. It is never ahead of what is so.
func (w *wal) acknowledge(number uint64) {
	w.sealed = number
	w.header.laid = max(w.header.laid, uint64(w.laid)+headerBlock)
	_ = w.introduce()
}

// seal completes a frame whose header is still empty.
func (w *wal) seal(frame []byte, number uint64) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint64(frame[8:], number)
	binary.BigEndian.PutUint32(frame[4:], w.sum(frame))
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func (w *wal) sum(frame []byte) uint32 {
	return crc32.Update(checksum(w.identity[:]), castagnoli, frame[8:])
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

// scan returns up to where log has the frames that follow on one, without a gap, and the number of the last. It is an
// error if it must have had more.
func (w *wal) scan(log []byte, after uint64) (end int, last uint64, err error) {
	for {
		frame, number := w.cut(log[end:])
		switch {
		case frame == nil:
			// Torn, or an old frame that was written over in part, unless the one after it is there.
			if w.has(log[end:], after+2) {
				return 0, 0, errFrames
			}
			return end, after, nil
		case number <= after:
			return end, after, nil
		case number > after+1:
			return 0, 0, errLater
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
		if _, err := w.file.WriteAt(zeros[:], headerBlock+end); err != nil {
			return err
		}
		w.laid = end + layBytes
	}
	if _, err := w.file.WriteAt(frames, headerBlock+at); err != nil {
		return err
	}
	return w.file.Sync()
}

// void makes a frame that could not be written, but may be there in part or as a whole, one that does not count, as far as
// that can be done.
func (w *wal) void(at int64) { _, _ = w.file.WriteAt(zeros[:frameHeader], headerBlock+at) }

// syncDir makes durable which files a directory has. Not every system can.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
