package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// Batch is what a request knows that stands for others, its members: many requests that were
// submitted at once. No processor works on it. It is pending until all members are stored and
// queued, processing until all have ended, and then ends itself. It is a value as a request is:
// nobody changes one in place.
type Batch struct {
	Total int `json:"total"`
	// Some member has an id of its own, so ids are found in the content only.
	Named bool `json:"named,omitzero"`
	// The ids that follow from it begin with its time; those of older ones do not.
	Timed     bool `json:"timed,omitzero"`
	Succeeded int  `json:"succeeded,omitzero"`
	Failed    int  `json:"failed,omitzero"`
	Canceled  int  `json:"canceled,omitzero"`
	Expired   int  `json:"expired,omitzero"`
	// Counted has a bit for each member that is counted above, so that no end is counted twice,
	// however often it is told. It may be shorter than Total.
	Counted []byte `json:"counted,omitzero"`
}

// Open is how many members have not ended, as far as that is known.
func (b *Batch) Open() int { return b.Total - b.Succeeded - b.Failed - b.Canceled - b.Expired }

// Has reports whether the end of a member is counted.
func (b *Batch) Has(member int) bool {
	return member>>3 < len(b.Counted) && b.Counted[member>>3]&(1<<(member&7)) != 0
}

// count counts the end of a member unless it is counted, and reports whether it did.
func (b *Batch) count(e MemberEnd) bool {
	if e.Member < 0 || e.Member >= b.Total || b.Has(e.Member) {
		return false
	}
	switch e.Status {
	case Succeeded:
		b.Succeeded++
	case Failed:
		b.Failed++
	case Canceled:
		b.Canceled++
	case Expired:
		b.Expired++
	default:
		return false
	}
	if missing := (b.Total+7)>>3 - len(b.Counted); missing > 0 {
		b.Counted = append(b.Counted, make([]byte, missing)...)
	}
	b.Counted[e.Member>>3] |= 1 << (e.Member & 7)
	return true
}

// batchMargin is how much longer a batch lives than its members, so that they end before it does.
const batchMargin = time.Minute

// MemberEnd is how a member of a batch ended.
type MemberEnd struct {
	Member int
	Status Status // terminal
}

// FanOut tells that all members of a batch are stored and queued: pending → processing.
type FanOut struct {
	Until time.Time // when the last of them runs out of time
}

func (FanOut) name() string { return "spread" }

func (c FanOut) apply(r *Request, now time.Time) (EventType, error) {
	if r.Batch == nil || r.Status != Pending {
		return "", refuse(r, c, 0)
	}
	r.Status = Processing
	r.StartedAt = now
	r.outlive(c.Until)
	return EventStarted, nil
}

// Count counts ends of members of a batch, each once. The batch ends when all are counted: as
// succeeded if all succeeded, as canceled if that was asked for, else as failed. While the members
// are still being stored it has no event; without anything new it changes nothing.
type Count struct {
	Ends  []MemberEnd
	Until time.Time // when the last of its members runs out of time, if that is known
}

func (Count) name() string { return "tally" }

func (c Count) apply(r *Request, now time.Time) (EventType, error) {
	if r.Batch == nil || r.Status.Terminal() {
		return "", refuse(r, c, 0)
	}
	b := new(*r.Batch)
	b.Counted = slices.Clone(b.Counted)
	fresh := false
	for _, e := range c.Ends {
		if b.count(e) {
			fresh = true
		}
	}
	extended := r.outlive(c.Until)
	if fresh {
		r.Batch = b
		r.Percent = new(float64(10_000*(b.Total-b.Open())/b.Total) / 100)
	}
	switch {
	case r.Status == Processing && b.Open() == 0:
		return r.endBatch(now), nil
	case r.Status == Processing && fresh:
		return EventProgress, nil
	case fresh || extended:
		return silent, nil
	default:
		return unchanged, nil
	}
}

// outlive lets a batch run out of time later than its members, and reports whether that was
// changed. It is, by as much as the margin, when half of that is used up, because members may be
// extended little by little.
func (r *Request) outlive(members time.Time) bool {
	if members.IsZero() || !members.Add(batchMargin/2).After(r.ExpiresAt) {
		return false
	}
	r.ExpiresAt = members.Add(batchMargin)
	return true
}

// endBatch ends a batch of which all members are counted.
func (r *Request) endBatch(now time.Time) EventType {
	b := r.Batch
	if b.Succeeded == b.Total {
		return r.end(Succeeded, now)
	}
	if r.CancelRequested {
		return r.end(Canceled, now)
	}
	r.Error = &Failure{Code: "batch-failed", Message: fmt.Sprintf("%d of %d requests did not succeed.", b.Total-b.Succeeded, b.Total)}
	return r.end(Failed, now)
}
