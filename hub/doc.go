// Package hub pushes the messages of channels to the followers that are connected
// to this node, over Server-Sent Events and WebSocket.
//
// The [Source] is the truth and notifies; the hub fans out. What happens to
// a message:
//
//	Source ──notification──▶ shard queue ──▶ channel ──one batch, encoded once per transport and form──▶ outbox of each connection ──▶ socket
//
// A WebSocket that follows several channels gets what they bring in the same round of a
// shard in one write, at the end of that round or after some hundred sends.
//
// A follower that arrives (or that missed a notification) catches up: its live messages
// are held back, the history is read from the Source, both are merged by offset, and it
// goes live. So every follower sees each offset exactly once and in order (but for
// superseded progress, if it is too slow for that), or is told in-band that some are gone
// for good (a reset).
//
// A waiting connection holds no goroutine and no buffer, whichever transport it has: one poller
// tells when a client has said something or has gone. Where the system is not Linux, and with the
// build tag portable, by which the tests try that there too, each has a goroutine instead. Writes
// never block: what a socket does not take at once waits in that connection's backlog, up to a
// bound in bytes. Beyond it, progress that is superseded by what waits behind it goes first (see
// [About]), and then the connection is closed in a way that lets its client resume.
//
// Locks, in the order in which they may be taken: shard.mu, channel.mu, outbox.mu,
// then wheel.mu or poller.mu. None is held while reading from the Source.
package hub
