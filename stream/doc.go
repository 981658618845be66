// Package stream is the domain of durable streams: append-only sequences of bytes that anyone with
// the right to may read from any offset, live or long after the end, without loss, doubling or
// mixing. There are two kinds: the output of a request, which lives and ends with it, and streams
// of a caller's own, by path.
//
// What may be appended, created and read is decided here, by pure functions over a [Stream], as
// Durable Streams 1.0 has it (https://github.com/durable-streams/durable-streams, PROTOCOL.md). A
// [Store] keeps what they decide; store/streamtest holds the drivers to its specification.
package stream
