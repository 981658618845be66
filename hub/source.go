package hub

import (
	"context"
	"time"
)

// Source is where a hub reads channels from: a store. The hub knows of a channel
// only its key, its offsets, the bytes of its messages, and what they are about.
//
// Offsets in a channel have no gaps. They start at 1, or behind [History.Begin], which is how a
// source that has dropped a channel keeps its offsets from coming again. Every method may be called
// concurrently.
type Source interface {
	// Read returns the messages of a channel after an offset, in order, at most
	// limit of them, and fewer if they have more than [PageBytes] as they are stored, together with
	// the channel's top offset at the moment of reading and whether it has ended there. A channel
	// that holds nothing has top 0.
	// If the message after the offset is gone but later ones are there, it
	// begins with the oldest that is.
	Read(ctx context.Context, channel string, after uint64, limit int) (History, error)

	// Reset returns the message that tells a follower that it missed messages
	// for good. Its offset is the channel's top, from which the follower goes
	// on. Last is set if nothing will follow.
	Reset(ctx context.Context, channel string) (Message, error)

	// Watch returns once every message that is appended to the channel from
	// now on will reach the function given to Listen, and Unwatch ends that.
	// Calls for one channel do not overlap and alternate.
	Watch(ctx context.Context, channel string) error
	Unwatch(channel string)

	// Listen sets the function that is called with new messages of watched
	// channels, those of one channel in order, though some may be missing or
	// repeated: it only notifies. It may be called with messages of other channels
	// too. A message without Event and Piece says that the end of the channel was replaced, as
	// when a server without its newest writes takes over: offsets that followers have seen
	// stand for other messages now. They are told of it as of a loss, see Reset.
	// The function does not block for long and keeps the message.
	// Listen is called once, before any other method.
	Listen(func(channel string, m Message))
}

// History is an answer of [Source.Read].
type History struct {
	Messages []Message
	Top      uint64 // offset of the newest message, 0 if there never was one
	Ended    bool   // nothing follows behind Top for now: the newest message is, or was, the Last
	// Begin, if not 0, says that the channel began behind that offset, and that all of it is there:
	// one who has seen nothing of it misses nothing.
	Begin uint64
}

// Message is one event of a channel, or a piece of a stream. It is shared by all followers: nobody
// changes the bytes.
type Message struct {
	Offset uint64
	// Span is how many offsets before Offset the message covers, too: 0 of an event. In the channel
	// of a stream offsets are positions, so it is one less than a piece has bytes.
	Span  uint64
	Event []byte  // CloudEvents JSON, one line; of a piece, its bytes
	Last  bool    // nothing follows in this channel for now
	About About   // what the event tells of; nil if that is not known
	Thin  Thinner // the event in thin form; nil if it has none: those who want that get Event
	Piece *Piece  // of a stream, what its bytes are; nil for an event
}

// first returns the first offset that the message covers.
func (m *Message) first() uint64 { return m.Offset - m.Span }

// ends reports whether it is the end of a stream, which has an offset and no bytes.
func (m *Message) ends() bool {
	return m.Piece != nil && m.Last && len(m.Event) == 0 && !m.Piece.Gone
}

// Piece is what the bytes of a message of a stream are.
type Piece struct {
	Kind PieceKind
	// Plain says that the bytes of a text survive as lines of server-sent events: it is UTF-8
	// without CR and without U+FEFF.
	Plain   bool
	Attempt int    // of the output of a request: whose bytes they are; else 0
	Epoch   string // of the stream, see [Channel]: one that comes later may have its name
	Gone    bool   // the stream is not there any more, and there are no bytes
}

// PieceKind says how bytes are told.
type PieceKind uint8

// The kinds of bytes.
const (
	PieceBytes PieceKind = iota // of any media type
	PieceText                   // whole characters
	PieceJSON                   // whole messages, a line feed behind each and nowhere else
)

// Thinner is an event that can be told in fewer words, to those who have asked for that. It is
// asked only when somebody has, once for each transport. It does not block and may be called
// concurrently.
type Thinner interface {
	// AppendThin appends the event as it is told in a channel, by the name or the key of that,
	// which say already what of it need not be said again: one line of JSON, an object with
	// members.
	AppendThin(dst []byte, channel string) []byte
}

// About is what an event tells of. It travels beside the bytes, so that whoever passes them on need
// not read them. The methods do not block and may be called concurrently.
type About interface {
	// Subject names what the event tells of, "" for nothing, and says whether it is only progress,
	// which is worth nothing once a newer event of the same subject is there. It is asked only for
	// a connection whose QueueBytes are used up: progress that is superseded in its channel is
	// dropped then, before the connection is closed.
	Subject() (name string, progress bool)
	// Made returns when the event was made, by the clock of the source; zero if that is not known.
	Made() time.Time
}
