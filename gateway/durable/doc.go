// Package durable is the words of Durable Streams over HTTP, version 1.0
// (https://github.com/durable-streams/durable-streams, PROTOCOL.md): what the fields and the query
// of a call ask for, and what an answer says of a stream. It decides nothing about streams and
// knows no connection; package stream does the former, package api the latter.
package durable
