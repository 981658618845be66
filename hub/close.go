package hub

import (
	"strconv"
	"time"
)

// CloseCode is a WebSocket close code. A client that was closed with one below
// 4500 may reconnect and resume from its last offsets; with 4500 and above, or
// with 1008 and 1009, the same attempt would end the same way.
type CloseCode uint16

// The close codes in use: those of RFC 6455, section 7.4.1, and its registry, and
// Hark's own.
const (
	CloseGoingAway CloseCode = 1001
	ClosePolicy    CloseCode = 1008
	CloseTooBig    CloseCode = 1009
	CloseRestart   CloseCode = 1012
	CloseTryLater  CloseCode = 1013

	CloseSlow   CloseCode = 4000 // reconnect: the connection did not keep up
	CloseSource CloseCode = 4001 // reconnect: the store could not be read
	// Reconnect: the client has answered no ping for two heartbeats.
	CloseSilent      CloseCode = 4002
	CloseProtocol    CloseCode = 4500 // do not: what the client sent is not the protocol
	CloseSubprotocol CloseCode = 4501 // do not: the client speaks others, but not hark.v1

	// Do not: the client sent no token in time, or one that is not taken.
	CloseUnauthenticated CloseCode = 4502
	CloseExpired         CloseCode = 4503 // do not with this token: it has expired, or was revoked
)

// farewell is what is said to a client whose connection is closed before its channels have ended:
// on a WebSocket by a close frame, on a stream in a word of the hub's own.
type farewell struct {
	why  reason
	code CloseCode
	text string // of the close frame, 123 bytes at most (RFC 6455, section 5.5.1)

	name    string // of the word on a stream; "" if there is none
	returns bool   // the client is told when to come back
	members string // of what the word says, as JSON, "" for none
}

// The farewells of connections of any transport. Others are for WebSockets alone.
var (
	farewellRestart = &farewell{why: reasonShutdown, code: CloseRestart, text: "restarting, reconnect", name: nameRestart, returns: true}
	farewellSource  = &farewell{
		why: reasonSource, code: CloseSource, text: "the store could not be read, reconnect", name: nameUnavailable, returns: true,
	}
	farewellExpired = &farewell{
		why: reasonExpired, code: CloseExpired, text: "the token has expired",
		name: nameUnproven, members: `"detail":"The token has expired, or was revoked."`,
	}
	// Of a stream that cannot be told on like this, or is not there any more: its client finds out.
	farewellTurn     = &farewell{why: reasonTurned, name: nameRestart, returns: true}
	farewellSlow     = &farewell{why: reasonSlow, code: CloseSlow, text: "too slow, resume from your last offset"}
	farewellUnproven = &farewell{why: reasonUnproven, code: CloseUnauthenticated, text: "no token was sent in time"}
	farewellSilent   = &farewell{why: reasonSilent, code: CloseSilent, text: "no ping was answered, reconnect"}
)

// farewell returns how a client is sent away that has met the limit.
func (l *limit) farewell() *farewell {
	return &farewell{
		why: reasonShed, code: CloseTryLater, text: l.detail,
		name: nameBusy, returns: true, members: `"violated-policies":["` + l.policy + `"],"detail":"` + l.detail + `"`,
	}
}

// The names of what a stream says that is no event of its channel.
const (
	nameStart       = "start"           // the channel is followed from here on
	nameHeartbeat   = "heartbeat"       // a sign of life, for those who want to see it
	nameEnd         = "end"             // nothing follows
	nameBusy        = "busy"            // there are too many connections: come back after retry
	nameRestart     = "restart"         // this node goes away: come back
	nameUnavailable = "unavailable"     // the channel cannot be read: come back
	nameUnproven    = "unauthenticated" // what the client was let in with holds no longer
)

// data returns what the word says, as a JSON object.
func (f *farewell) data(retry time.Duration) string {
	if !f.returns {
		return "{" + f.members + "}"
	}
	text := `{"retry":` + strconv.FormatInt(retry.Milliseconds(), 10)
	if f.members != "" {
		text += "," + f.members
	}
	return text + "}"
}

// offsetData is what start and end say.
func offsetData(offset uint64) string { return `{"offset":` + strconv.FormatUint(offset, 10) + `}` }
