package bolt

import (
	"encoding/binary"

	"github.com/hark-push/hark/lifecycle"
)

// usageKey is where in kept stands what an owner takes, as varints: open
// requests, bytes, and, if there are any, requests that wait.
func usageKey(owner string) []byte { return append([]byte("usage\x00"), owner...) }

// usage returns what an owner takes. What is damaged counts for nothing, which is told: it only
// keeps shares fair.
func (b *batch) usage(owner string) (u lifecycle.Usage) {
	value, err := b.read(keptBucket, usageKey(owner))
	if err != nil {
		_ = b.s.damaged("", "what an owner takes", err)
		return u
	}
	open, n := binary.Varint(value)
	if n > 0 {
		u.Open = open
		bytes, more := binary.Varint(value[n:])
		u.Bytes = bytes
		u.Waiting, _ = binary.Varint(value[n+max(more, 0):])
	}
	return u
}

// use counts what a step changes of it. Nothing is left of an owner who takes nothing.
func (b *batch) use(owner string, was, is lifecycle.Usage) {
	change := is.Minus(was)
	if change == (lifecycle.Usage{}) {
		return
	}
	now := b.usage(owner).Plus(change)
	if now == (lifecycle.Usage{}) {
		b.delete(keptBucket, usageKey(owner))
		return
	}
	value := binary.AppendVarint(binary.AppendVarint(nil, now.Open), now.Bytes)
	if now.Waiting != 0 {
		value = binary.AppendVarint(value, now.Waiting)
	}
	b.put(keptBucket, usageKey(owner), value)
}
