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

	// FailFast says that as soon as a member has failed or expired, those that have not ended are
	// canceled.
	FailFast bool `json:"failFast,omitzero"`
	// Joined says that the results of all members, as one JSON array, are the batch's own.
	Joined bool `json:"joined,omitzero"`
	// Then is the id of the request that is submitted when all members have ended, unless the batch
	// is canceled; "" for none.
	Then      string `json:"then,omitzero"`
	Submitted bool   `json:"submitted,omitzero"` // that request is there
	// Limit is how many bytes the joined result may have, and what Then gets to know; of a batch
	// that has neither it is 0. It stands here because whoever ends a batch may be a worker, which
	// has no such setting.
	Limit int64 `json:"limit,omitzero"`
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

// concludes reports whether something is left to be done when all members are counted, before the
// batch ends: see [Conclude].
func (b *Batch) concludes() bool { return b.Joined || b.Then != "" }

// How much longer a batch lives than its members, so that they end before it does. One that
// concludes is not to run out of time because everybody was away when they ended.
const (
	batchMargin    = time.Minute
	concludeMargin = 24 * time.Hour
)

func (b *Batch) margin() time.Duration {
	if b.concludes() {
		return concludeMargin
	}
	return batchMargin
}

// stops reports whether the members of a batch that have not ended are to be canceled.
func (r *Request) stops() bool {
	return r.CancelRequested || r.Batch.FailFast && r.Batch.Failed+r.Batch.Expired > 0
}

// toConclude reports whether a batch waits for nothing but its [Conclude].
func (r *Request) toConclude() bool {
	return r.Batch != nil && r.Status == Processing && r.Batch.Open() == 0 && r.Batch.concludes()
}

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

// Count counts ends of members of a batch, each once. The batch ends when all are counted, unless
// that is left to a [Conclude]: as succeeded if all succeeded, as canceled if that was asked for,
// else as failed. While the members are still being stored it has no event; without anything new it
// changes nothing.
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
	case r.Status == Processing && b.Open() == 0 && !b.concludes():
		return r.endBatch(nil, now), nil
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
	margin := r.Batch.margin()
	if members.IsZero() || !members.Add(margin/2).After(r.ExpiresAt) {
		return false
	}
	r.ExpiresAt = members.Add(margin)
	return true
}

// Conclude ends a batch of which all members are counted, with what it brings besides their counts.
type Conclude struct {
	Result *Content // those of its members, joined; nil: none
	// Why something that was asked for is not there; the batch has not succeeded then.
	Failure   *Failure
	Submitted bool // the request that follows is stored
}

func (Conclude) name() string { return "conclude" }

func (c Conclude) apply(r *Request, now time.Time) (EventType, error) {
	if !r.toConclude() {
		return "", refuse(r, c, 0)
	}
	b := new(*r.Batch)
	b.Submitted = c.Submitted
	r.Batch = b
	if c.Result != nil {
		r.Result = resultOf(*c.Result)
	}
	return r.endBatch(c.Failure, now), nil
}

// outcome returns how a batch ends of which all members are counted. trouble is why something is
// not there that was asked for; nil: nothing is missing.
func (r *Request) outcome(trouble *Failure) Status {
	switch all := r.Batch.Succeeded == r.Batch.Total; {
	case all && trouble == nil:
		return Succeeded
	case !all && r.CancelRequested:
		return Canceled
	default:
		return Failed
	}
}

// endBatch ends a batch of which all members are counted, see outcome.
func (r *Request) endBatch(trouble *Failure, now time.Time) EventType {
	b, status := r.Batch, r.outcome(trouble)
	switch {
	case status != Failed:
	case b.Succeeded == b.Total:
		r.Error = trouble
	default:
		r.Error = &Failure{Code: "batch-failed", Message: fmt.Sprintf("%d of %d requests did not succeed.", b.Total-b.Succeeded, b.Total)}
		if trouble != nil {
			r.Error.Detail = trouble.Code + ": " + trouble.Message
		}
	}
	return r.end(status, now)
}
