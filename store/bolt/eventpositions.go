package bolt

import (
	"encoding/binary"
	"iter"
)

// eventPositions are the positions of a request's events in the log. They are a value: what
// was handed out does not change.
type eventPositions struct {
	Oldest uint64 `json:"oldest"` // sequence of the first one
	Newest uint64 `json:"newest"` // position of the last one
	// Steps holds the position of the first one and then the distance from each to
	// the next, as varints: two bytes an event, where many requests are at work.
	Steps []byte `json:"steps"`
}

// add appends the position of the next event.
func (t *eventPositions) add(position uint64) {
	// The room behind the slice belongs to whoever has the newest value: the writer.
	t.Steps = binary.AppendUvarint(t.Steps, position-t.Newest)
	t.Newest = position
}

// all yields the sequence and the position of each event.
func (t eventPositions) all() iter.Seq2[uint64, uint64] {
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

// from returns the positions from a sequence on that is among them.
func (t eventPositions) from(oldest uint64) eventPositions {
	cut := eventPositions{Oldest: oldest}
	for sequence, position := range t.all() {
		if sequence >= oldest {
			cut.add(position)
		}
	}
	return cut
}
