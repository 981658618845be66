// Package wal is a write-ahead log: what is about to be in another file, made durable sooner. It
// knows frames, sums, syncs and checkpoints, and changes to tables; what is in the tables is no
// concern of it.
package wal

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

// Log is the file of a log: frames, one behind the other, each of which is durable or not as a
// whole. After a checkpoint, when the other file has what all of them hold, the next frame is
// written at the beginning again, over those that are not needed any more, so the log stays as
// large as it is and a sync has data to write but nothing of the file system. Which frames count is
// known by their numbers, which rise by one from frame to frame and never begin again.
//
// In front of the frames stands who the log belongs to and how far it was known to reach, see
// [Header]: so it is told whether frames are missing that were acknowledged.
//
// A frame is the length of what it holds (4 bytes), a CRC-32C (4) over the identity of the other
// file, the number and what it holds, and the number (8). It is written, and synced, before the
// next one is begun: after a crash only the last one can be torn, and nobody was told of that.
// Offsets are those behind the header.
//
// It is used by one goroutine at a time.
type Log struct {
	File File
	Path string
	Header
	laid    int64 // up to where the file has its blocks
	scratch [headerSize]byte
}

// File is what is needed of an [os.File]; Sync makes data durable, not times.
type File interface {
	io.WriterAt
	Sync() error
	Close() error
}

const (
	// FrameHeader is what stands in front of what a frame holds, in bytes.
	FrameHeader = 16
	// LayBytes is how much of the file is laid out at a time: with zeros, because to find blocks
	// for a hole and to journal that takes the file system longer than the data does.
	LayBytes = 1 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [LayBytes]byte
)

// What is wrong with the frames of a log.
var (
	ErrMissing = errors.New("frames that were acknowledged are missing or damaged")
	ErrLater   = errors.New("the frames do not follow on what the other file has")
)

// Open opens the log at path. It returns the frames that follow on the one with a number, and the
// number of the last. The log is nil if there is none.
func Open(path string, after uint64) (l *Log, frames []byte, last uint64, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, 0, nil
	}
	if err != nil {
		return nil, nil, 0, err
	}
	h := DecodeHeader(content)
	if h == nil {
		return nil, nil, 0, nil
	}
	l = &Log{Path: path, Header: *h, laid: int64(len(content)) - HeaderBlock}
	end, last, err := l.Recover(content, after)
	if err != nil {
		return nil, nil, 0, err
	}
	opened, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, 0, err
	}
	l.File = dataFile{opened}
	return l, content[HeaderBlock:][:end:end], last, nil
}

// Recover returns up to where content, that of the file, has the frames that follow on one, and the
// number of the last. ErrMissing, ErrLater.
func (l *Log) Recover(content []byte, after uint64) (end int, last uint64, err error) {
	if uint64(len(content)) < l.Laid {
		return 0, 0, ErrMissing // it was cut
	}
	end, last, err = l.Scan(content[HeaderBlock:], after)
	if err == nil && last < l.Sealed {
		err = ErrMissing
	}
	return end, last, err
}

// Create makes the log of a file that has none, or none that is needed, with that header. It gets
// its name when it says whose it is.
func Create(path string, h Header) (*Log, error) {
	l := &Log{Path: path, Header: h}
	l.Laid = HeaderBlock
	made := path + ".new"
	if err := func() error {
		opened, err := os.OpenFile(made, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		l.File = opened
		_, err = opened.WriteAt(zeros[:HeaderBlock], 0)
		return errors.Join(err, l.introduce(), opened.Sync(), opened.Close())
	}(); err != nil {
		return nil, errors.Join(err, os.Remove(made))
	}
	if err := errors.Join(os.Rename(made, path), SyncDir(filepath.Dir(path))); err != nil {
		return nil, err
	}
	opened, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l.File = dataFile{opened}
	return l, nil
}

// introduce writes the header, which is durable with the next sync. If it cannot be written, the
// one before is left.
func (l *Log) introduce() error {
	l.Turn++
	_, err := l.File.WriteAt(l.Append(l.scratch[:0]), int64(l.Turn%2)*HeaderSlot)
	if err != nil {
		l.Turn-- // what is torn now is written next
	}
	return err
}

// Announce makes durable that the other file may be of another generation from now on.
func (l *Log) Announce(next uint64) error {
	l.Next = next
	if err := l.introduce(); err != nil {
		return err
	}
	return l.File.Sync()
}

// Begin notes that the other file is of a generation, and has what everything up to a frame holds.
func (l *Log) Begin(generation, number uint64) {
	l.Generation, l.Next, l.Base, l.Sealed = generation, 0, number, number
	_ = l.introduce() // else the log still says that this was about to come
}

// Acknowledge notes that everything up to a frame is in the log. It is never ahead of what is so.
func (l *Log) Acknowledge(number uint64) {
	l.Sealed = number
	l.Laid = max(l.Laid, uint64(l.laid)+HeaderBlock)
	_ = l.introduce()
}

// Seal completes a frame whose header is still empty.
func (l *Log) Seal(frame []byte, number uint64) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-FrameHeader))
	binary.BigEndian.PutUint64(frame[8:], number)
	binary.BigEndian.PutUint32(frame[4:], l.sum(frame))
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func (l *Log) sum(frame []byte) uint32 {
	return crc32.Update(checksum(l.Identity[:]), castagnoli, frame[8:])
}

// Cut returns the frame at the beginning of frames and its number; nil if there is no whole one.
func (l *Log) Cut(frames []byte) (frame []byte, number uint64) {
	if len(frames) < FrameHeader {
		return nil, 0
	}
	size := uint64(binary.BigEndian.Uint32(frames)) + FrameHeader
	if size > uint64(len(frames)) || binary.BigEndian.Uint32(frames[4:]) != l.sum(frames[:size]) {
		return nil, 0
	}
	return frames[:size], binary.BigEndian.Uint64(frames[8:])
}

// Scan returns up to where there are the frames that follow on one, without a gap, and the number
// of the last. It is an error if there must have been more: ErrMissing, ErrLater.
func (l *Log) Scan(frames []byte, after uint64) (end int, last uint64, err error) {
	for {
		frame, number := l.Cut(frames[end:])
		switch {
		case frame == nil:
			// Torn, or an old frame that was written over in part, unless the one after it is
			// there.
			if l.Has(frames[end:], after+2) {
				return 0, 0, ErrMissing
			}
			return end, after, nil
		case number <= after:
			return end, after, nil
		case number > after+1:
			return 0, 0, ErrLater
		}
		end += len(frame)
		after = number
	}
}

// Has reports whether there is a frame with that number anywhere.
func (l *Log) Has(frames []byte, number uint64) bool {
	mark := binary.BigEndian.AppendUint64(nil, number)
	for from := 8; from < len(frames); from++ {
		i := bytes.Index(frames[from:], mark)
		if i < 0 {
			return false
		}
		from += i
		if frame, _ := l.Cut(frames[from-8:]); frame != nil {
			return true
		}
	}
	return false
}

// Write puts frames at an offset and waits until they are on disk.
func (l *Log) Write(frames []byte, at int64) error {
	if end := at + int64(len(frames)); end > l.laid {
		if _, err := l.File.WriteAt(zeros[:], HeaderBlock+end); err != nil {
			return err
		}
		l.laid = end + LayBytes
	}
	if _, err := l.File.WriteAt(frames, HeaderBlock+at); err != nil {
		return err
	}
	return l.File.Sync()
}

// Void makes a frame that could not be written, but may be there in part or as a whole, one that
// does not count, as far as that can be done.
func (l *Log) Void(at int64) { _, _ = l.File.WriteAt(zeros[:FrameHeader], HeaderBlock+at) }

// SyncDir makes durable which files a directory has. Not every system can.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
