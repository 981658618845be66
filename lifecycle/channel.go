package lifecycle

import (
	"errors"
	"fmt"
	"strings"
)

// ChannelKind says what a channel carries.
type ChannelKind string

// The kinds of channel.
const (
	RequestChannel ChannelKind = "request" // one request's events
	// The events of all requests of one owner with this topic.
	TopicChannel ChannelKind = "topic"
	OwnerChannel ChannelKind = "owner" // the events of all requests of one owner
)

// Channel names a numbered stream of events. Offsets in a channel start at 1 and
// have no gaps.
type Channel struct {
	Kind  ChannelKind
	Owner string // of a topic: topics of different owners are different channels
	Name  string // the request's id, the topic, or the owner's subject
	// Life is that of the request whose own channel it is, see [Ref]. A store numbers and keeps the
	// events of each life by themselves, and tells of those of no other in its channel.
	Life string
}

// Key is the channel's name inside Hark, unique over all owners.
func (c Channel) Key() string {
	if c.Kind == TopicChannel {
		// No owner and no topic holds a NUL, so no two channels share a key.
		return "topic:" + c.Owner + "\x00" + c.Name
	}
	return string(c.Kind) + ":" + c.Ref().String()
}

// Ref names the request whose own channel it is.
func (c Channel) Ref() Ref { return Ref{c.Name, c.Life} }

// String is the name that clients use.
func (c Channel) String() string { return string(c.Kind) + ":" + c.Name }

// Feed reports whether the channel gathers many requests.
func (c Channel) Feed() bool { return c.Kind != RequestChannel }

// ErrChannelName is the error of a channel name that names nothing.
var ErrChannelName = errors.New("bad channel name")

// ParseChannel reads the name of a channel as a caller with the given subject
// means it: "request:<id>", "topic:<name>", "owner:<subject>", or "owner" for
// the caller's own. It checks form only, not whether the caller may read it.
func ParseChannel(name, subject string) (Channel, error) {
	kind, rest, named := strings.Cut(name, ":")
	switch ChannelKind(kind) {
	case RequestChannel:
		if !ValidID(rest) {
			return Channel{}, fmt.Errorf("%w: %q holds no valid request id", ErrChannelName, Clip(name, maxTold))
		}
		return Channel{Kind: RequestChannel, Name: rest, Life: AnyLife}, nil
	case TopicChannel:
		if !ValidTopic(rest) {
			return Channel{}, fmt.Errorf("%w: %q holds no valid topic", ErrChannelName, Clip(name, maxTold))
		}
		return Channel{Kind: TopicChannel, Owner: subject, Name: rest}, nil
	case OwnerChannel:
		if !named {
			rest = subject
		}
		if !ValidSubject(rest) {
			return Channel{}, fmt.Errorf("%w: %q names no owner", ErrChannelName, Clip(name, maxTold))
		}
		return Channel{Kind: OwnerChannel, Name: rest}, nil
	default:
		return Channel{}, fmt.Errorf("%w: %q, want request:<id>, topic:<name> or owner:<subject>", ErrChannelName, Clip(name, maxTold))
	}
}

// ParseKey is the inverse of [Channel.Key].
func ParseKey(key string) (Channel, error) {
	kind, rest, _ := strings.Cut(key, ":")
	if ChannelKind(kind) == TopicChannel {
		owner, name, ok := strings.Cut(rest, "\x00")
		if !ok {
			return Channel{}, fmt.Errorf("%w: key %q", ErrChannelName, Clip(key, maxTold))
		}
		return Channel{Kind: TopicChannel, Owner: owner, Name: name}, nil
	}
	switch ChannelKind(kind) {
	case RequestChannel:
		if of := ParseRef(rest); of.ID != "" {
			return Channel{Kind: RequestChannel, Name: of.ID, Life: of.Life}, nil
		}
	case OwnerChannel:
		if rest != "" {
			return Channel{Kind: OwnerChannel, Name: rest}, nil
		}
	}
	return Channel{}, fmt.Errorf("%w: key %q", ErrChannelName, Clip(key, maxTold))
}
