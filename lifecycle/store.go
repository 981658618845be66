package lifecycle

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Store keeps requests and their events. It is the truth; whatever is pushed is
// only a notification. Two drivers exist, and store/storetest holds both against this
// specification.
//
// A request is named by a [Ref]: where that names a life, the request with this id that has another
// one is not found.
//
// Every method may be called from many goroutines and, over a shared server,
// from many processes at once. An error that wraps [ErrUnavailable] means that
// nothing was changed, or, if the connection broke while waiting, that it is unknown
// whether the change was made; making the same call again is then safe, because
// Create is idempotent and the state machine refuses what was done already. When
// a method has returned without error, what it changed survives the death of the
// process.
//
// The store has the clock: every time in a request comes from it, so that the
// clocks of the nodes do not matter.
type Store interface {
	// Create stores s as a pending request together with its first event, in one
	// atomic step, or finds that it was stored before:
	//
	//   - A known idempotency key (scoped to the owner) with the same fingerprint
	//     returns the request that it created, Existed, and the Reply if one was
	//     saved. If none was and the key is still locked: ErrKeyInProgress, or with Join
	//     the request, Joined, as soon as it is there.
	//     Another fingerprint: ErrKeyReused.
	//   - A known id with the same owner and fingerprint returns that request and
	//     Existed; a key that was not known is bound to it, and locked. Anything else with a known id: ErrIDTaken.
	//
	// Of several concurrent calls with one id or key, exactly one creates.
	//
	// The store counts what each owner takes, in the steps that change it, by [Request.Usage]. What
	// would go beyond the submission's quota is refused: [*QuotaError]. So is what its route has no
	// room for: [*FullError].
	//
	// A request that needs a slot, see [Concurrency], and may start at once gets it in this step if
	// one is free, and is Parked otherwise.
	Create(ctx context.Context, s Submission) (Created, error)

	// SaveReply remembers how the first call with a key was answered, for as long as the request is
	// kept, and unlocks the key. If the key names another request, or none, it does nothing.
	SaveReply(ctx context.Context, of Ref, owner, key string, r Reply) error

	// Apply makes one change by [Transition] and, in the same atomic step,
	// appends its event to all of [Request.Channels] with the next offset of
	// each, stores what [BodyOf] says, and moves the request in
	// the indexes (route, expiry). It returns the request after the change.
	// ErrNotFound, or the [*TransitionError] of the machine.
	//
	// The same step does what [SlotStepOf] says. A start that needs a slot and finds none free is
	// refused with ReasonSlot, and lets the request wait for one. A slot that is given back goes to
	// the next request that may have it, see [Slots.OnSlot]: within a lane by priority and then by
	// how long they wait; lanes of a route that is full take turns.
	Apply(ctx context.Context, of Ref, c Change) (Request, error)

	// Begin makes the change Start as Apply does, and returns with a request that is processing now
	// what was submitted, Content(ctx, of, Input); that may fail when the attempt has begun
	// already.
	Begin(ctx context.Context, of Ref, c Start) (Request, Content, error)

	// Get returns a request, with its Position if it is pending.
	// ErrNotFound if there is none.
	Get(ctx context.Context, of Ref) (Request, error)

	// Content returns what was submitted or what came out. ErrNotFound if there
	// is no such request or it has no such part. The caller owns the bytes.
	Content(ctx context.Context, of Ref, p Part) (Content, error)

	// List returns requests of one owner, or of all, newest first, at a cost that does not grow with
	// how many are kept. ErrCursor. Of one owner a damaged record is the error; of all those are
	// left out.
	List(ctx context.Context, q Query) (Page, error)

	// Delete forgets a request that has ended: its state, content, own channel
	// and idempotency key. What it put into feeds stays there until it ages out.
	// ErrNotFound, or ErrNotEnded.
	Delete(ctx context.Context, of Ref) error

	// DeleteDamaged forgets a request that Get cannot read because it is damaged, in whatever state
	// it was, and returns what its events still say of it: at the least its id. What is found by
	// the id goes, and what is found by those events. ErrNotFound if there is no such request, or
	// Get can read it.
	DeleteDamaged(ctx context.Context, id string) (Request, error)
}

// Pieces is what a [Store] can do besides, so that large bodies need not be in memory as a whole.
type Pieces interface {
	// ReadContent fills p with bytes of [Store.Content], from an offset on, as far as there are
	// any, and returns how many that were: fewer than len(p) only at the end. of names a life.
	// ErrNotFound as Content has it.
	ReadContent(ctx context.Context, of Ref, part Part, p []byte, offset int64) (int, error)
}

// Housekeeping is what a store offers to those who look after what it holds, beside the calls.
type Housekeeping interface {
	// Sweep expires requests whose time has run out, with their event, and
	// forgets ended ones whose retention has passed. It does at most limit of
	// them, oldest first. Any number of processes may sweep at once:
	// each expiry happens once. What was done is told with an error, too.
	Sweep(ctx context.Context, limit int) (Swept, error)

	// Unfinished yields every request that a processor works on, or should, in the order in which
	// a route should work on them: all that have not ended but those that wait for an answer. It is
	// not a snapshot: what changes meanwhile
	// may be yielded or not.
	Unfinished(ctx context.Context) iter.Seq2[Request, error]

	// Batches yields every batch that has not ended, in any order, at a cost that does not
	// grow with the other requests. It is no snapshot either.
	Batches(ctx context.Context) iter.Seq2[Request, error]
}

// Swept is what a [Housekeeping.Sweep] did.
type Swept struct {
	Done int       // requests that it expired or forgot
	Next time.Time // when the next one is due, zero if nothing is stored
	// Ended are those that it expired, as they are then, and those that it forgot that are members
	// of a batch.
	Ended []Request
}

// Add notes a request that was expired, or forgotten.
func (s *Swept) Add(r Request, forgotten bool) {
	s.Done++
	if !forgotten || r.BatchID != "" {
		s.Ended = append(s.Ended, r)
	}
}

// Leader is a store of many processes.
type Leader interface {
	// Lead reports whether this process, and no other, is to do what one is enough for, for a time
	// from now. Whoever does it asks again before that has passed, and keeps it then. Errors wrap
	// ErrUnavailable.
	Lead(ctx context.Context, what string, d time.Duration) (bool, error)
}

// Cancellations tells processors of requests whose cancellation was asked for
// while they were being processed. It is a hint, delivered at most once to each
// process; the mark itself is in the request.
type Cancellations interface {
	// OnCancel calls f with every such request until stop is called.
	// f must not block.
	OnCancel(f func(of Ref)) (stop func())
}

// Submission is a request to be stored. The limits have been checked.
type Submission struct {
	ID          string
	Life        string // a new one if the id may be chosen again, see [NewLife]
	Owner       string
	Route       string
	Topic       string
	Priority    int
	Delay       time.Duration // before it may start
	Timeout     time.Duration // from now until it expires
	Retention   time.Duration // after its end
	MaxAttempts int
	RetryDelay  time.Duration // before the second attempt, see [Request]; 0: the default
	Content     Content
	Call        *Call
	Headers     map[string]string
	Webhook     *Webhook
	Fingerprint string
	Quota       Quota // what its owner may take with it; zero: any
	Room        Room  // that its route must have for it; zero: any
	// It counts for what its owner has waiting. Of what has a quota of that it has to be set.
	CountWaiting bool
	Concurrency  Concurrency

	Batch     *Batch // see [Request]
	BatchID   string
	BatchLife string
	Member    int32

	Key     string        // idempotency key, "" for none
	KeyLock time.Duration // how long a repeat is told that the first call is in progress
	// A repeat takes the request of the first call although that is in progress.
	Join bool
}

// Created is the outcome of [Store.Create].
type Created struct {
	Request Request
	Existed bool
	Reply   *Reply // of the first call with the same key
	Joined  bool   // that call is in progress, and it is for it to save a reply
}

// Reply is how a call with an idempotency key was answered. Final answers are
// built again from the request, which does not change any more; only an interim
// answer needs its body kept.
type Reply struct {
	Status int    `json:"status"`
	Body   []byte `json:"body,omitzero"`
}

// Part names one of the bodies of a request.
type Part uint8

// The parts.
const (
	Input   Part = iota // what was submitted
	Output              // the result
	Answers             // to what it has asked, see [Answer]; the others are never replaced
)

// Query selects requests. Empty fields select all.
type Query struct {
	Owner  string
	All    bool // everybody's: Owner is not looked at
	Status Status
	Route  string
	Topic  string
	Since  time.Time // created then or later
	Until  time.Time // created before
	Cursor string    // Next of the page before, of the same Owner or of All; "" for the newest
	Limit  int       // 1 or more
}

// Selects reports whether a request is among those that the query selects.
func (q *Query) Selects(r *Request) bool {
	return (q.All || r.Owner == q.Owner) && (q.Status == "" || r.Status == q.Status) && (q.Route == "" || r.Route == q.Route) &&
		(q.Topic == "" || r.Topic == q.Topic) && (q.Since.IsZero() || !r.CreatedAt.Before(q.Since)) &&
		(q.Until.IsZero() || r.CreatedAt.Before(q.Until))
}

// ClockSlack is how far the order in which an owner's requests were stored, and that of their
// times, may be apart: clocks are set, and steps wait for others. A list by Since and Until looks
// so much further, and holds each time against them.
const ClockSlack = 2 * time.Second

// Page is a part of a list. It may hold fewer requests than the limit although
// more follow: a store bounds how much it looks through in one call.
type Page struct {
	Requests []Request
	Next     string // cursor of the next page, "" at the end
}

// ErrCursor is the error of a [Query.Cursor] that no page had.
var ErrCursor = errors.New("unknown cursor")
