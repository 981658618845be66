package hub

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

	CloseSlow        CloseCode = 4000 // reconnect: the connection did not keep up
	CloseSource      CloseCode = 4001 // reconnect: the store could not be read
	CloseSilent      CloseCode = 4002 // reconnect: the client has answered no ping for two heartbeats
	CloseProtocol    CloseCode = 4500 // do not: what the client sent is not the protocol
	CloseSubprotocol CloseCode = 4501 // do not: the client speaks others, but not hark.v1

	CloseUnauthenticated CloseCode = 4502 // do not: the client sent no token in time, or one that is not taken
	CloseExpired         CloseCode = 4503 // do not with this token: it has expired, or was revoked
)
