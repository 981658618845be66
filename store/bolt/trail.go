package bolt

import (
	"encoding/binary"
	"iter"
)

// trail is the positions of a request's events in the log. It is a value: what
// was handed out does not change.
type trail struct {
	Oldest uint64 `json:"oldest"` // sequence of the first one
	Newest uint64 `json:"newest"` // position of the last one
	// Steps holds the position of the first one and then the distance from each to
	// the next, as varints: two bytes an event, where many requests are at work.
	Steps []byte `json:"steps"`
}

// add appends the position of the next event.
func (t *trail) add(position uint64) {
	// The room behind the slice belongs to whoever has the newest trail: the writer.
	t.Steps = binary.AppendUvarint(t.Steps, position-t.Newest)
	t.Newest = position
}

// all yields the sequence and the position of each event.
func (t trail) all() iter.Seq2[uint64, uint64] {
	return func(yield func(sequence, position uint64) bool) {
		position, sequence := uint64(0), t.Oldest
		for rest := t.Steps; len(rest) > 0; sequence++ {
			step, n := binary.Uvarint(rest)
			if n <= 0 {
				return
			}
			position += step
			if !yield(sequence, position) {
				return
			}
			rest = rest[n:]
		}
	}
}

// from returns the trail from a sequence on that is in it.
func (t trail) from(oldest uint64) trail {
	cut := trail{Oldest: oldest}
	for sequence, position := range t.all() {
		if sequence >= oldest {
			cut.add(position)
		}
	}
	return cut
}
