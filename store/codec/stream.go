package codec

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/hark-push/hark/stream"
)

// A stream is kept in the format of a record, its bytes beside it. Its name is not in it, because
// stores have that as the key.
const (
	streamType = 1 + iota
	streamTail
	streamClosed
	streamTag
	streamCreated // ns since 1970, as an sint64
	streamTTL     // ns
	streamTouched // as all times that follow: ns since created, as an sint64
	streamExpires
	streamSeq
	streamProducer
	streamClosedBy
	streamFork
	streamForks
	streamDeleted
	streamSegment
)

var errStream = errors.New("it is no stream")

// AppendStream appends what is known of a stream beside its bytes.
func AppendStream(dst []byte, s *stream.Stream) []byte {
	epoch := s.Created
	dst = appendText(dst, streamType, s.Type)
	dst = appendNumber(dst, streamTail, int64(s.Tail))
	dst = appendMark(dst, streamClosed, s.Closed)
	dst = appendText(dst, streamTag, s.Tag)
	dst = appendTime(dst, streamCreated, epoch, time.Unix(0, 0))
	if epoch.IsZero() {
		epoch = time.Unix(0, 0)
	}
	dst = appendNumber(dst, streamTTL, int64(s.TTL))
	dst = appendTime(dst, streamTouched, s.Touched, epoch)
	dst = appendTime(dst, streamExpires, s.Expires, epoch)
	dst = appendText(dst, streamSeq, s.Seq)
	ids := make([]string, 0, len(s.Producers))
	for id := range s.Producers {
		ids = append(ids, id)
	}
	slices.Sort(ids) // the same stream is the same bytes
	for _, id := range ids {
		dst = appendNested(dst, streamProducer, func(dst []byte) []byte {
			p := s.Producers[id]
			dst = appendNumber(appendNumber(appendText(dst, 1, id), 2, p.Epoch), 3, p.Seq)
			return appendTime(dst, 4, p.At, epoch)
		})
	}
	if by := s.ClosedBy; by != nil {
		dst = appendNested(dst, streamClosedBy, func(dst []byte) []byte {
			return appendNumber(appendNumber(appendText(dst, 1, by.ID), 2, by.Epoch), 3, by.Seq)
		})
	}
	if f := s.Fork; f != nil {
		dst = appendNested(dst, streamFork, func(dst []byte) []byte {
			dst = appendNumber(appendTexts(dst, f.From.Owner, f.From.Path), 3, int64(f.At))
			return appendNumber(appendNumber(dst, 4, int64(f.Offset)), 5, f.Sub)
		})
	}
	dst = appendNumber(dst, streamForks, int64(s.Forks))
	dst = appendMark(dst, streamDeleted, s.Deleted)
	for _, at := range s.Segments {
		dst = appendNested(dst, streamSegment, func(dst []byte) []byte {
			return appendNumber(appendNumber(dst, 1, int64(at.Attempt)), 2, int64(at.Offset))
		})
	}
	return dst
}

// DecodeStream reads what AppendStream wrote into s, which is zero. Fields that it does not know
// are skipped. The strings are parts of data.
func DecodeStream(data string, s *stream.Stream) error {
	epoch := int64(0)
	for m := (message{data}); m.rest != ""; {
		f, ok := m.next()
		if !ok || !decodeStream(f, epoch, s) {
			return errStream
		}
		if f.number == streamCreated {
			epoch = s.Created.UnixNano()
		}
	}
	if s.Tail > math.MaxInt64 {
		return errStream
	}
	return nil
}

// decodeStream reads one field.
func decodeStream(f field, epoch int64, s *stream.Stream) bool {
	switch f.number {
	case streamType:
		s.Type = f.bytes
	case streamTail:
		s.Tail = f.varint
	case streamClosed:
		s.Closed = f.varint != 0
	case streamTag:
		s.Tag = f.bytes
	case streamCreated:
		s.Created = f.time(0)
	case streamTTL:
		s.TTL = time.Duration(f.int64())
	case streamTouched:
		s.Touched = f.time(epoch)
	case streamExpires:
		s.Expires = f.time(epoch)
	case streamSeq:
		s.Seq = f.bytes
	case streamForks:
		s.Forks = f.int()
	case streamDeleted:
		s.Deleted = f.varint != 0
	default:
		return decodeStreamPart(f, epoch, s)
	}
	return true
}

// decodeStreamPart reads one field that has some of its own.
func decodeStreamPart(f field, epoch int64, s *stream.Stream) bool {
	switch f.number {
	case streamProducer:
		var id string
		var p stream.Producer
		ok := f.nested(func(in field) {
			switch in.number {
			case 1:
				id = in.bytes
			case 2:
				p.Epoch = in.int64()
			case 3:
				p.Seq = in.int64()
			case 4:
				p.At = in.time(epoch)
			}
		})
		if s.Producers == nil {
			s.Producers = make(map[string]stream.Producer, 1)
		}
		s.Producers[id] = p
		return ok
	case streamClosedBy:
		s.ClosedBy = new(stream.Stamp)
		return f.nested(func(in field) {
			switch in.number {
			case 1:
				s.ClosedBy.ID = in.bytes
			case 2:
				s.ClosedBy.Epoch = in.int64()
			case 3:
				s.ClosedBy.Seq = in.int64()
			}
		})
	case streamFork:
		s.Fork = new(stream.Fork)
		return f.nested(func(in field) {
			switch in.number {
			case 1:
				s.Fork.From.Owner = in.bytes
			case 2:
				s.Fork.From.Path = in.bytes
			case 3:
				s.Fork.At = in.varint
			case 4:
				s.Fork.Offset = in.varint
			case 5:
				s.Fork.Sub = in.int64()
			}
		})
	case streamSegment:
		var at stream.Segment
		ok := f.nested(func(in field) {
			switch in.number {
			case 1:
				at.Attempt = in.int()
			case 2:
				at.Offset = in.varint
			}
		})
		s.Segments = append(s.Segments, at)
		return ok
	}
	return true
}
