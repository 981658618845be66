package codec

import (
	"maps"
	"slices"
	"time"

	"github.com/hark-push/hark/stream"
)

// What is known of a stream beside its bytes is a message like a record, see there. Whose it is
// stores have in the key.
const (
	streamType = 1 + iota
	streamTail
	streamClosed
	streamTag
	streamCreated // ns since 1970, as an sint64
	streamTouched // as all times that follow: ns since created, as an sint64
	streamTTL     // ns
	streamExpires
	streamSeq
	streamProducer
	streamClosedBy
	streamFork
	streamForks
	streamDeleted
	streamSegment
)

// AppendStream appends what is known of a stream to dst.
func AppendStream(dst []byte, s *stream.Stream) []byte {
	dst = appendText(dst, streamType, s.Type)
	dst = appendNumber(dst, streamTail, int64(s.Tail))
	dst = appendMark(dst, streamClosed, s.Closed)
	dst = appendText(dst, streamTag, s.Tag)
	epoch := time.Unix(0, 0)
	dst = appendTime(dst, streamCreated, s.Created, epoch)
	if !s.Created.IsZero() {
		epoch = s.Created
	}
	dst = appendTime(dst, streamTouched, s.Touched, epoch)
	dst = appendNumber(dst, streamTTL, int64(s.TTL))
	dst = appendTime(dst, streamExpires, s.Expires, epoch)
	dst = appendText(dst, streamSeq, s.Seq)
	if len(s.Producers) > 0 {
		for _, id := range slices.Sorted(maps.Keys(s.Producers)) {
			p := s.Producers[id]
			dst = appendNested(dst, streamProducer, func(dst []byte) []byte {
				dst = appendNumber(appendNumber(appendText(dst, 1, id), 2, p.Epoch), 3, p.Seq)
				return appendTime(dst, 4, p.At, epoch)
			})
		}
	}
	if by := s.ClosedBy; by != nil {
		dst = appendNested(dst, streamClosedBy, func(dst []byte) []byte {
			return appendNumber(appendNumber(appendText(dst, 1, by.ID), 2, by.Epoch), 3, by.Seq)
		})
	}
	if f := s.Fork; f != nil {
		dst = appendNested(dst, streamFork, func(dst []byte) []byte {
			dst = appendTexts(dst, f.From.Owner, f.From.Path)
			dst = appendNumber(appendNumber(appendNumber(dst, 3, int64(f.At)), 4, int64(f.Offset)), 5, f.Sub)
			return appendNumber(dst, 6, int64(f.Depth))
		})
	}
	dst = appendNumber(dst, streamForks, int64(s.Forks))
	dst = appendMark(dst, streamDeleted, s.Deleted)
	for _, segment := range s.Segments {
		dst = appendNested(dst, streamSegment, func(dst []byte) []byte {
			return appendNumber(appendNumber(dst, 1, int64(segment.Attempt)), 2, int64(segment.Offset))
		})
	}
	return dst
}

// DecodeStream reads what AppendStream wrote into s, which is zero. The strings in it are parts of
// data.
func DecodeStream(data string, s *stream.Stream) error {
	var epoch int64
	for m := (message{data}); m.rest != ""; {
		f, ok := m.next()
		if !ok {
			return errDamaged
		}
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
			epoch = f.signed()
			s.Created = f.time(0)
		case streamTouched:
			s.Touched = f.time(epoch)
		case streamTTL:
			s.TTL = time.Duration(f.int64())
		case streamExpires:
			s.Expires = f.time(epoch)
		case streamSeq:
			s.Seq = f.bytes
		case streamProducer:
			if s.Producers == nil {
				s.Producers = make(map[string]stream.Producer)
			}
			ok = f.producer(s.Producers, epoch)
		case streamClosedBy:
			s.ClosedBy = new(stream.Stamp)
			ok = f.stamp(s.ClosedBy)
		case streamFork:
			s.Fork = new(stream.Fork)
			ok = f.fork(s.Fork)
		case streamForks:
			s.Forks = f.int()
		case streamDeleted:
			s.Deleted = f.varint != 0
		case streamSegment:
			var segment stream.Segment
			ok = f.nested(func(f field) {
				switch f.number {
				case 1:
					segment.Attempt = f.int()
				case 2:
					segment.Offset = f.varint
				}
			})
			s.Segments = append(s.Segments, segment)
		}
		if !ok {
			return errDamaged
		}
	}
	return nil
}

// producer reads one producer into all of them.
func (f field) producer(all map[string]stream.Producer, epoch int64) bool {
	var id string
	var p stream.Producer
	ok := f.nested(func(f field) {
		switch f.number {
		case 1:
			id = f.bytes
		case 2:
			p.Epoch = f.int64()
		case 3:
			p.Seq = f.int64()
		case 4:
			p.At = f.time(epoch)
		}
	})
	all[id] = p
	return ok
}

func (f field) stamp(s *stream.Stamp) bool {
	return f.nested(func(f field) {
		switch f.number {
		case 1:
			s.ID = f.bytes
		case 2:
			s.Epoch = f.int64()
		case 3:
			s.Seq = f.int64()
		}
	})
}

func (f field) fork(to *stream.Fork) bool {
	return f.nested(func(f field) {
		switch f.number {
		case 1:
			to.From.Owner = f.bytes
		case 2:
			to.From.Path = f.bytes
		case 3:
			to.At = f.varint
		case 4:
			to.Offset = f.varint
		case 5:
			to.Sub = f.int64()
		case 6:
			to.Depth = f.int()
		}
	})
}
