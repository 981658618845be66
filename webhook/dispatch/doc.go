// Package dispatch delivers events to webhook endpoints: over HTTP, signed, at least once,
// each endpoint for itself, so that one that is dead costs the others nothing.
package dispatch
