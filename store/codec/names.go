package codec

import (
	"bytes"
	"crypto/sha256"
	"unicode/utf8"

	"github.com/hark-push/hark/lifecycle"
)

// What both layouts keep in the same form. Feeds are named by [lifecycle.Channel.Key].

// StatusLetter stands for a status where a record begins, so that a list skips it unread: one
// letter, "" for "". status_of in scripts of store/redis reads it.
func StatusLetter(s lifecycle.Status) string {
	switch s {
	case "":
		return ""
	case lifecycle.Processing:
		return "r" // running
	default:
		return string(s[:1])
	}
}

// OwnerEntry is what the list of its owner has of a request, so that one that is not wanted is
// skipped without its record: id, route and topic with NULs between them, which none of them holds.
// list.lua of store/redis takes it apart, too.
func OwnerEntry(r *lifecycle.Request) string { return r.ID + "\x00" + r.Route + "\x00" + r.Topic }

// CutOwnerEntry takes apart what OwnerEntry made. The parts are those of entry.
func CutOwnerEntry(entry []byte) (id, route, topic []byte) {
	id, rest, _ := bytes.Cut(entry, []byte{0})
	route, topic, _ = bytes.Cut(rest, []byte{0})
	return id, route, topic
}

// KeyDigest names an idempotency key, which has no bound that a store would hold, among those of
// all owners. What is not UTF-8 is taken as JSON reads it back, so that a stored request still
// finds its key.
func KeyDigest(owner, key string) [sha256.Size]byte {
	if !utf8.ValidString(key) {
		key = string([]rune(key))
	}
	return sha256.Sum256([]byte(owner + "\x00" + key))
}
