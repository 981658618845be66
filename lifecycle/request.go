package lifecycle

import (
	"encoding/json"
	"slices"
	"time"
)

// Request is one piece of asynchronous work and where it stands. It is a value:
// stores hand out copies, and nobody changes one in place. What was submitted and
// what came out ([Content]) are kept beside it and read only when wanted.
//
// The JSON form is that of stores of older layouts, not what clients see: that
// gateway/wire writes.
type Request struct {
	ID       string `json:"id"`
	Life     string `json:"life,omitzero"` // which of all that ever had this id, see [Ref]
	Owner    string `json:"owner"`         // Subject of the principal who submitted it
	Route    string `json:"route"`
	Topic    string `json:"topic,omitzero"`
	Priority int    `json:"priority,omitzero"` // 0 (default) to 9 (first)

	Status  Status   `json:"status"`
	Step    string   `json:"step,omitzero"`
	Percent *float64 `json:"percent,omitzero"` // 0 to 100
	Message string   `json:"message,omitzero"`

	// The attempt that counts; 0 before the first start. No number comes twice in a life.
	Attempt int `json:"attempt,omitzero"`
	// The queue's message that began it, see [Start]; "" if none did.
	StartedBy string `json:"startedBy,omitzero"`
	// For how long it may be silent while it runs; 0: nobody has said.
	Lease time.Duration `json:"lease,omitzero"`
	// The last report that ended an attempt.
	Reported    Reported `json:"reported,omitzero"`
	Failures    int      `json:"failures,omitzero"`    // attempts that failed or died
	MaxAttempts int      `json:"maxAttempts,omitzero"` // failures allowed, 1 or more
	// Before the second attempt, doubled for each further one; 0: the default.
	RetryDelay time.Duration `json:"retryDelay,omitzero"`
	// How long it may take; 0: it was stored by a version that did not keep it.
	Timeout time.Duration `json:"timeout,omitzero"`
	// How often it was redriven, and the attempts that were made before it was last, see [Redrive].
	Redriven        int  `json:"redriven,omitzero"`
	Past            int  `json:"past,omitzero"`
	CancelRequested bool `json:"cancelRequested,omitzero"`
	// What it waits for an answer to; of one that does not wait nil.
	Question *Question `json:"question,omitzero"`
	Asked    int       `json:"asked,omitzero"` // how many questions it has asked
	// Of one that waits: what was left of its time when it asked, which it gets back.
	Left time.Duration `json:"left,omitzero"`
	// Of a pending one: it has got its answer, and its next start goes on with the attempt.
	Resumes bool `json:"resumes,omitzero"`
	// How large the [Answers] are that are kept, in bytes; 0: there are none.
	AnswersSize int64 `json:"answersSize,omitzero"`
	// Something was appended to its output, see [OutputName]: the store says so.
	HasOutput bool `json:"hasOutput,omitzero"`
	// Submitted more than once before it started, see Repeat.
	Repeated bool `json:"repeated,omitzero"`
	// In what its owner takes, see [Request.Usage].
	Counted bool `json:"counted,omitzero"`
	// In what its owner has waiting, too: there was a limit when it was submitted.
	CountedWaiting bool `json:"countedWaiting,omitzero"`
	// How many like it may be worked on at the same time.
	Concurrency Concurrency `json:"concurrency,omitzero"`

	// Which one of its batch, from 0; here it takes no further room.
	Member int32 `json:"member,omitzero"`
	// The batch that this request is a member of, "" for none.
	BatchID   string `json:"batchId,omitzero"`
	BatchLife string `json:"batchLife,omitzero"`
	Batch     *Batch `json:"batch,omitzero"` // of a request that stands for others; it has no route

	// Of a failed request, or of the last attempt while it waits for the next.
	Error  *Failure `json:"error,omitzero"`
	Result *Result  `json:"result,omitzero"` // of one that has succeeded, or of a batch

	Sequence  uint64    `json:"sequence"` // number of the newest event, from 1, without gaps
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	StartedAt time.Time `json:"startedAt,omitzero"` // first start
	EndedAt   time.Time `json:"endedAt,omitzero"`
	// Before the end: when its time runs out; after: when it is forgotten.
	ExpiresAt time.Time `json:"expiresAt"`
	// A delayed or retried request does not start before.
	NotBefore time.Time     `json:"notBefore,omitzero"`
	Retention time.Duration `json:"retention"` // how long it is kept after its end

	Input ContentInfo `json:"input"`
	Call  *Call       `json:"call,omitzero"`
	// Of the submission: safe-listed, trace context included, and what the gateway forwards
	// besides.
	Headers map[string]string `json:"headers,omitzero"`

	// The one-off endpoint that its events are delivered to, besides its owner's.
	Webhook *Webhook `json:"webhook,omitzero"`

	Fingerprint string `json:"fingerprint"`  // of the submission, to tell a repeat from a conflict
	Key         string `json:"key,omitzero"` // idempotency key, scoped to Owner

	// Position is how many requests on the same route became pending earlier or
	// have a higher priority; whether these come first is the broker's. The store
	// computes it when it hands out a pending request; it is never stored.
	Position *int `json:"-"`

	// Estimate is when it will end, as [Service] says of what it hands out; see [Request.ETA]. It
	// is never stored.
	Estimate time.Time `json:"-"`
	// Given are the [Answers] as whoever works on the request gets them, see [Service.Start]: a
	// JSON object with the answer to each question by its name. They are kept beside the request.
	Given json.RawMessage `json:"-"`
	// Parked says that a pending request waits in the store for a slot, see [Concurrency], and is
	// not to be queued until it has one. The store says so of what a step has left pending, and of
	// what [Housekeeping.Unfinished] yields; it is never stored.
	Parked bool `json:"-"`
	// InLine is how many of the requests of its lane, see [Request.Lane], have a slot or are to get
	// one before it. The store says so of a request that waits for a slot when it hands it out by
	// Get or List; nil: it waits for none, or the store does not say. It is never stored.
	InLine *int `json:"-"`
}

// Content is a body with its media type.
type Content struct {
	Type string
	Data []byte
}

// ContentInfo describes a Content that is kept elsewhere.
type ContentInfo struct {
	Type string `json:"type"`
	Size int64  `json:"size"` // bytes
}

// Call is the HTTP call that a request was made from, when it came that way.
type Call struct {
	Method string `json:"method"`
	// Decoded; dot segments and empty ones stand as they were sent.
	Path  string `json:"path"`
	Query string `json:"query,omitzero"` // as it was sent, without the question mark
	// RawPath is the path as it was sent, in which %2F is no slash; "" only if the request was
	// stored by a version that did not keep it.
	RawPath string `json:"rawPath,omitzero"`
}

// Webhook names an endpoint that gets the events of one request. The store makes a delivery to
// it in the step that stores the event; that endpoints are there, and what happens to
// deliveries, is no concern of the lifecycle.
type Webhook struct {
	Endpoint string      `json:"endpoint"`       // its id; it belongs to the request's owner
	Types    []EventType `json:"types,omitzero"` // of the events it gets; empty: all
}

// Wants reports whether events of a type are delivered.
func (w *Webhook) Wants(t EventType) bool {
	return w != nil && (len(w.Types) == 0 || slices.Contains(w.Types, t))
}

// Failure is why an attempt failed. A handler may return one as its error.
type Failure struct { //nolint:errname // it is what the domain calls it, and an error besides
	Code    string `json:"code"`            // short and stable, for programs
	Message string `json:"message"`         // for the user
	Detail  string `json:"detail,omitzero"` // for the developer
	Trace   string `json:"trace,omitzero"`  // a stack, if the processor sends one; never pushed
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Result describes what came out. The bytes are read with [Store.Content].
type Result struct {
	ContentInfo
	Value json.RawMessage `json:"value,omitzero"` // a JSON result up to [InlineLimit], compacted
}

// InlineLimit is the size in bytes up to which a JSON result travels inside the
// status document, so that the final event needs no second call.
const InlineLimit = 16 << 10

// Ref returns what names this life of the request.
func (r *Request) Ref() Ref { return Ref{r.ID, r.Life} }

// batch names the batch that the request is a member of.
func (r *Request) batch() Ref { return Ref{r.BatchID, r.BatchLife} }

// Channel returns the channel that carries this request's events.
func (r *Request) Channel() Channel { return Channel{Kind: RequestChannel, Name: r.ID, Life: r.Life} }

// Channels returns every channel that this request's events go to: its own
// first, then the feeds.
func (r *Request) Channels() []Channel {
	channels := make([]Channel, 0, 3)
	channels = append(channels, r.Channel(), Channel{Kind: OwnerChannel, Name: r.Owner})
	if r.Topic != "" {
		channels = append(channels, Channel{Kind: TopicChannel, Owner: r.Owner, Name: r.Topic})
	}
	return channels
}

// ETA is when a request will end: what its Estimate says, or else, of one that reports a
// percentage, what follows from its pace so far, at the latest when its time runs out. Zero if
// there is nothing to estimate from.
func (r *Request) ETA() time.Time {
	if !r.Estimate.IsZero() {
		return r.Estimate
	}
	if r.Status != Processing || r.Percent == nil || *r.Percent <= 0 || r.StartedAt.IsZero() {
		return time.Time{}
	}
	elapsed := r.UpdatedAt.Sub(r.StartedAt)
	total := time.Duration(float64(elapsed) * 100 / *r.Percent)
	if end := r.StartedAt.Add(total); end.Before(r.ExpiresAt) {
		return end
	}
	return r.ExpiresAt
}
