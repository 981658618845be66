package lifecycle

import "github.com/hark-push/hark/stream"

// A stream is a channel with the key [stream.Name.Key], whose offsets are positions, see
// [stream.Chunk]. What drivers say of one as a [Source] is made here.

// StreamHistory answers [Source.Read] for a stream, or an output as [OutputOf] returns it, that is
// there. read is ReadStream of it.
func StreamHistory(s *stream.Stream, after uint64, limit int, read func(p []byte, from uint64) (int, error)) (History, error) {
	h := History{Top: s.Tail, Ended: s.Closed}
	if s.Closed {
		h.Top++
	}
	chunks, err := s.Page(after, limit, PageBytes, read)
	if err != nil {
		return History{}, err
	}
	for i := range chunks {
		h.Messages = append(h.Messages, chunkMessage(&chunks[i]))
		after = chunks[i].To
	}
	if s.Closed && after == s.Tail && len(h.Messages) < limit {
		h.Messages = append(h.Messages, StreamEnd(s))
	}
	return h, nil
}

// StreamAppended is what followers are told of an append that has made a stream what it is, by
// bytes that were stored behind its end. Nobody changes them any more.
func StreamAppended(s *stream.Stream, stored []byte) (messages []Message) {
	chunks := s.Cut(s.Tail-uint64(len(stored)), stored)
	for i := range chunks {
		messages = append(messages, chunkMessage(&chunks[i]))
	}
	if s.Closed {
		messages = append(messages, StreamEnd(s))
	}
	return messages
}

func chunkMessage(c *stream.Chunk) Message {
	return Message{Offset: c.To, Span: c.To - c.From - 1, Chunk: c}
}

// StreamEnd is the last message of a stream that is closed.
func StreamEnd(s *stream.Stream) Message {
	end := stream.Chunk{From: s.Tail, To: s.Tail, Type: s.Type, Tag: s.Tag}
	return Message{Offset: s.Tail + 1, Chunk: &end, Last: true}
}

// StreamGone is the last message of a stream that was deleted. It is also the answer to
// [Source.Reset] for one that is there: nothing of a stream is ever dropped, so whoever has missed
// something for good has followed another one.
func StreamGone(s *stream.Stream) Message {
	m := StreamEnd(s)
	m.Chunk.Gone = true
	return m
}

// NoStream is the answer to [Source.Read] for a stream that is not there: it ends right behind
// whatever its follower has seen, so that nobody waits for it.
func NoStream(after uint64, limit int) History {
	h := History{Top: after + 1, Ended: true}
	if limit > 0 {
		h.Messages = []Message{StreamGone(&stream.Stream{Tail: after})}
	}
	return h
}
