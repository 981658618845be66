package transfertest

import (
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
)

// wrongStreams are streams that no gateway can have written. An export has one that is no fork, with
// bytes, and it is the first.
func wrongStreams() []wrong {
	change := func(change func(*stream.Stream)) func(*transfer.Line) {
		return func(l *transfer.Line) {
			s := stream.Stream(*l.Stream)
			change(&s)
			l.Stream = (*transfer.StreamRecord)(&s)
		}
	}
	return []wrong{
		{"a stream twice", transfer.Stream, nil, "are missing"},
		{"bytes twice", transfer.Bytes, nil, "are none of the stream"},
		{"a stream of no path", transfer.Stream, func(l *transfer.Line) { l.Channel = "stream:alice\x00a//b" }, "a stream that"},
		{"a stream of no owner", transfer.Stream, func(l *transfer.Line) { l.Channel = "stream:\x00a" }, "a stream that"},
		{"an output of no request", transfer.Stream, func(l *transfer.Line) { l.Channel = "output:a b" }, "a stream that"},
		{"a stream without bytes", transfer.Stream, change(func(s *stream.Stream) { s.Tail++ }), "are missing"},
		{"a stream with too many", transfer.Stream, change(func(s *stream.Stream) { s.Tail-- }), "are none of the stream"},
		{"bytes somewhere else", transfer.Bytes, func(l *transfer.Line) { l.Offset++ }, "are none of the stream"},
		{"no bytes", transfer.Bytes, func(l *transfer.Line) { l.Data = nil }, "are none of the stream"},
		{"a stream without a tag", transfer.Stream, change(func(s *stream.Stream) { s.Tag = "" }), "a tag that"},
		{"a deleted stream", transfer.Stream, change(func(s *stream.Stream) { s.Deleted, s.Forks = true, 0 }), "a count of forks that"},
		{"a fork of nothing", transfer.Stream, change(func(s *stream.Stream) {
			s.Fork = &stream.Fork{From: stream.Name{Owner: "alice", Path: ".."}}
		}), "a source of a fork that"},
	}
}
