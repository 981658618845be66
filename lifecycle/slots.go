package lifecycle

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// Concurrency is how many requests may be worked on at the same time, over all nodes: those of one
// owner on one route with the same key, and all of the route. What a request may need is in its
// record, as it was when it was submitted, so that whoever makes a step of it knows.
//
// A request that is limited so needs a slot before it starts. It gets one when it is stored, or
// waits in the store for it, and is queued only when it has one, so what waits for a slot is in
// nobody's way. It keeps the slot until its attempt is over, see [SlotStepOf].
type Concurrency struct {
	Key   string // "": it has none
	Limit int    // of its key; 0 without one
	Route int    // of its route; 0: any number
}

// Limited reports whether it needs a slot.
func (c Concurrency) Limited() bool { return c.Limit > 0 || c.Route > 0 }

// Lane names those that wait for slots in one line: the requests of one owner on one route with the
// same key, which may be "".
func (r *Request) Lane() string { return lane(r.Route, r.Owner, r.Concurrency.Key) }

// Lane is that of the request that it becomes.
func (s *Submission) Lane() string { return lane(s.Route, s.Owner, s.Concurrency.Key) }

func lane(route, owner, key string) string { return route + "\x00" + owner + "\x00" + key }

// SlotStep is what a step of a request does with its slot.
type SlotStep uint8

// The steps.
const (
	SlotKept    SlotStep = iota // nothing
	SlotNeeded                  // the step is made only if the request has a slot, or one is free
	SlotLeft                    // it has none any more, and waits for none
	SlotLeftFor                 // likewise, and then waits for one behind the others
)

// SlotStepOf says what the step does that leads from was to is. An attempt that is over gives its
// slot back: a request that is to be tried again at once waits in line for the next one, and one
// that is to be tried later takes its place in the line then. What interrupts an attempt without
// ending it keeps the slot.
func SlotStepOf(was, is *Request, now time.Time) SlotStep {
	switch {
	case !is.Concurrency.Limited() || was.Status == is.Status:
	case is.Status.Terminal():
		return SlotLeft
	case was.Status == Pending && is.Status == Processing:
		return SlotNeeded
	case was.Status == Processing && is.Status == Pending && is.NotBefore.After(now):
		return SlotLeft
	case was.Status == Processing && is.Status == Pending:
		return SlotLeftFor
	case was.Status.Terminal() && is.Status == Pending: // it is redriven
		return SlotLeftFor
	}
	return SlotKept
}

// NoSlot is the error of a start of r that finds no slot free.
func NoSlot(r *Request) error { return refuseFor(ReasonSlot, r, Start{}, 0) }

// Slots is a store in which requests wait for slots.
type Slots interface {
	// OnSlot calls f with every request that waited for a slot and that a step of this process has
	// given one, until stop is called: it is to be queued. f must not block.
	OnSlot(f func(of Ref)) (stop func())

	// Fits reports whether what is submitted can be counted with the others of its lane and its
	// route under the id that it has: a store of many partitions has them all in one. With no id it
	// reports whether it can under any.
	Fits(sub *Submission) bool
}

// Standing is how many requests of a route stand still: nobody is to work on them now.
type Standing struct {
	Parked  int64 // wait for a slot, see [Concurrency]
	Waiting int64 // wait for an answer, see [Ask]
}

// Standings is a store that counts them, in the steps that change it.
type Standings interface {
	// Standing returns them by route, those of all processes, at a cost that does not grow with
	// the requests. A route is left out of which none stand still.
	Standing(ctx context.Context) (map[string]Standing, error)
}

// ErrUnfitID: a request that is limited cannot have an id that the client has chosen, because the
// store has many partitions, see [Slots.Fits].
var ErrUnfitID = errors.New("the id cannot be that of a request whose concurrency is limited")

// fit gives a submission an id under which it can be counted, if its client has chosen none.
func (s *Service) fit(sub *Submission, chosen bool) error {
	slots, ok := s.store.(Slots)
	if !ok || !sub.Concurrency.Limited() {
		return nil
	}
	probe := *sub
	probe.ID = ""
	switch {
	case slots.Fits(&probe):
		return nil
	case chosen:
		return ErrUnfitID
	}
	for probe.ID = sub.ID; probe.ID == "" || !slots.Fits(&probe); {
		probe.ID = newID()
	}
	sub.ID = probe.ID
	return nil
}

// newID returns a UUID (RFC 9562, section 5.8) that begins with the time, as those of other
// requests do.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	var now [8]byte
	binary.BigEndian.PutUint64(now[:], uint64(time.Now().UnixMilli()))
	copy(id[:], now[2:])
	return uuidOf(id[:])
}
