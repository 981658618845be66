package lifecycle

import (
	"context"

	"github.com/hark-push/hark/stream"
)

// Source is where the events of a store are read, and heard of, by the key of their channel, and
// likewise what is appended to streams, see [StreamHistory].
//
// Offsets in a channel have no gaps. They start at 1, or behind [History.Begin], which is how a
// store that has dropped a channel keeps its offsets from coming again. Every method may be called
// concurrently.
type Source interface {
	// Read returns the messages of a channel after an offset, in order, at most limit of them, and
	// fewer if they have more than [PageBytes] as they are stored, together with the channel's top
	// offset at the moment of reading and whether it has ended there. A channel that holds nothing
	// has top 0. If the message after the offset is gone but later ones are there, it begins with
	// the oldest that is.
	Read(ctx context.Context, channel string, after uint64, limit int) (History, error)

	// Reset returns the message that tells a follower that it missed messages for good. Its offset
	// is the channel's top. Last is set if nothing will follow. ErrNotFound if it is the channel of
	// a request that is not there, stream.ErrNotFound if it is that of such a stream.
	Reset(ctx context.Context, channel string) (Message, error)

	// Watch returns once every message that is appended to the channel from now on will reach the
	// function given to Listen, and Unwatch ends that. Calls for one channel do not overlap and
	// alternate.
	Watch(ctx context.Context, channel string) error
	Unwatch(channel string)

	// Listen sets the function that is called with new messages of watched channels, those of one
	// channel in order, though some may be missing or repeated: it only notifies. It may be called
	// with messages of other channels too. A message without Event and Chunk says that the end of
	// the channel was replaced, as when a server without its newest writes takes over: offsets
	// stand for other messages now. The function does not block for long. Listen is called once,
	// before any other method.
	Listen(f func(channel string, m Message))
}

// PageBytes is what an answer of [Source.Read] may have, unless one message has more by itself.
const PageBytes = 64 << 10

// History is an answer of [Source.Read].
type History struct {
	Messages []Message
	Top      uint64 // offset of the newest message, 0 if there never was one
	Ended    bool   // nothing follows behind Top for now: the newest message is, or was, the Last
	// Begin, if not 0, says that the channel began behind that offset, and that all of it is there.
	Begin uint64
}

// Message is an event as it stands in a channel, or a part of a stream.
type Message struct {
	Offset uint64
	// Span is how many offsets before Offset it covers, too: of a chunk one less than it has bytes.
	Span  uint64
	Event *Event        // one of the two
	Chunk *stream.Chunk // is set
	// The request has ended with it, and was not redriven; the stream is closed or deleted.
	Last bool
}
