package churn

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ref names one life of a request. The life is empty of ids that Hark has made.
type ref struct{ id, life string }

func (r ref) String() string {
	if r.life == "" {
		return r.id
	}
	return r.id + "/" + r.life
}

// ledger is all that was asked for and all that was seen. Its methods may be called concurrently.
type ledger struct {
	began time.Time
	mu    sync.Mutex
	subs  map[int]*submission
	ids   map[string][]*submission // that may have a chosen id, or have got one that Hark made
	lives map[ref]*life
	done  map[string]int // what was done, by name
	found map[string]int // what was checked, by name
	wrong []string

	finished []finished
}

// submission is a plan and what became of it on the client's side. The ledger's lock guards it.
type submission struct {
	plan
	at       time.Time
	accepted bool
	gaveUp   bool // it was not accepted for a reason that the documents allow
	unknown  int  // calls whose answer is not known, each of which may have made a life of its own
	refs     []ref

	askedToCancel bool   // a call to cancel was made, whatever it was answered
	canceled      bool   // it was answered that the request has ended as canceled
	keyed         bool   // it bears an idempotency key
	answered      string // how it ended, by the call that waited
	members       []*submission
}

// life is what was seen of one life of a request.
type life struct {
	ref
	owner  string
	sub    *submission // nil if that is not known yet
	events map[int]*event
	ended  int // sequence of the event that ended it, 0 before
	marks  map[int]bool
	handed map[int]time.Time // attempts that an HTTP worker was handed, and when
	gone   bool              // somebody has it forgotten: feeds tell nothing of it from then on
	taken  bool              // by a DELETE: what was not delivered of it is not any more
}

// event is one event, as everybody has to see it.
type event struct {
	seq                  int
	kind                 string // without "request."
	attempt              int
	code                 string
	at, created, expires time.Time
	hash                 [32]byte
	size                 int64  // of the result, -1 without one
	value                []byte // the result, if it is in the event
	route, topic         string
	batch                *batchCounts
	from                 string // who showed it first
}

type batchCounts struct{ Total, Open, Succeeded, Failed, Canceled, Expired int }

// message is a CloudEvent, as far as it matters here.
type message struct {
	ID, Type, Source, Sequence string
	Data                       document
}

// document is a status document.
type document struct {
	ID, Life, Status string
	Route, Topic     *string
	Attempt          int
	Message          *string
	Error            *struct{ Code, Message string }
	Result           *struct {
		Size  int64
		Value json.RawMessage
	}
	Sequence             int
	CreatedAt, UpdatedAt time.Time
	ExpiresAt            time.Time
	Batch                *batchCounts
}

func (d *document) ref() ref { return ref{d.ID, d.Life} }

func newLedger(began time.Time) *ledger {
	return &ledger{
		began: began, subs: make(map[int]*submission), ids: make(map[string][]*submission), lives: make(map[ref]*life),
		done: make(map[string]int), found: make(map[string]int),
	}
}

// violate notes something that must not be.
func (l *ledger) violate(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrongly(format, args...)
}

// wrongly is violate, with the lock held.
func (l *ledger) wrongly(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf("%7.2fs ", time.Since(l.began).Seconds())+fmt.Sprintf(format, args...))
}

// count counts something that was done.
func (l *ledger) count(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[name]++
}

// checked counts something that was looked at and found right, or, if it was not, was told
// otherwise.
func (l *ledger) checked(name string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found[name] += n
}

// submit notes that something is about to be submitted.
func (l *ledger) submit(p plan) *submission {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &submission{plan: p, at: time.Now()}
	l.subs[p.n] = s
	if p.id != "" {
		l.ids[p.id] = append(l.ids[p.id], s)
	}
	l.done["submitted: "+p.name]++
	return s
}

// accept notes what a submission was answered with.
func (l *ledger) accept(s *submission, of ref, unknown int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.accepted, s.unknown = true, s.unknown+unknown
	if s.id != "" && s.id != of.id {
		l.wrongly("n=%d was submitted as %s and answered as %s", s.n, s.id, of)
	}
	if s.id == "" {
		l.ids[of.id] = append(l.ids[of.id], s)
	}
	l.claim(s, of, "the answer to its submission")
}

// claim notes that a life is that of a submission. The lock is held.
func (l *ledger) claim(s *submission, of ref, by string) *life {
	v := l.life(of)
	switch {
	case v.sub == nil:
		v.sub = s
		if !slices.Contains(s.refs, of) {
			s.refs = append(s.refs, of)
		}
	case v.sub != s:
		l.wrongly("%s is of n=%d, but by %s it is of n=%d", of, v.sub.n, by, s.n)
	}
	return v
}

func (l *ledger) life(of ref) *life {
	v := l.lives[of]
	if v == nil {
		v = &life{ref: of, events: make(map[int]*event), marks: make(map[int]bool), handed: make(map[int]time.Time)}
		l.lives[of] = v
	}
	return v
}

// marked reads the marks in a text.
func (v *life) marked(text string) {
	for rest := text; ; {
		_, behind, ok := strings.Cut(rest, "n=")
		if !ok {
			return
		}
		digits, after, ok := strings.Cut(behind, ";")
		if n, err := strconv.Atoi(digits); ok && err == nil {
			v.marks[n] = true
		}
		rest = after
	}
}

// observe notes an event that somebody was shown, who is one of its owner's. It returns whose it
// is, and its type.
func (l *ledger) observe(from, owner string, raw []byte) (of ref, seq int, kind string, err error) {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return of, 0, "", fmt.Errorf("%w: %.200s", err, raw)
	}
	of, seq = m.Data.ref(), m.Data.Sequence
	kind = strings.TrimPrefix(m.Type, "request.")
	if kind == "reset" || strings.HasPrefix(m.Type, "feed.") {
		return of, seq, kind, nil
	}
	if want := of.String() + "/" + strconv.Itoa(seq); m.ID != want || m.Source != "/v1/requests/"+of.id {
		return of, seq, kind, fmt.Errorf("the event %s of %s says that it is %s", m.ID, m.Source, want)
	}
	e := &event{
		seq: seq, kind: kind, attempt: m.Data.Attempt, at: m.Data.UpdatedAt, created: m.Data.CreatedAt, expires: m.Data.ExpiresAt,
		hash: sha256.Sum256(raw), size: -1, batch: m.Data.Batch, from: from,
	}
	if m.Data.Error != nil {
		e.code = m.Data.Error.Code
	}
	if m.Data.Result != nil {
		e.size, e.value = m.Data.Result.Size, m.Data.Result.Value
	}
	if m.Data.Route != nil {
		e.route = *m.Data.Route
	}
	if m.Data.Topic != nil {
		e.topic = *m.Data.Topic
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found["events seen"]++
	v := l.life(of)
	if v.owner == "" {
		v.owner = owner
	} else if v.owner != owner {
		l.wrongly("%s sees event %d of %s, which is %s's (%s)", owner, seq, of, v.owner, from)
	}
	if m.Data.Message != nil {
		v.marked(*m.Data.Message)
	}
	if m.Data.Error != nil {
		v.marked(m.Data.Error.Message)
	}
	if known := v.events[seq]; known != nil {
		if known.hash != e.hash {
			l.wrongly("event %d of %s is not the same: %s saw %s, %s sees %s", seq, of, known.from, known.kind, from, kind)
		}
		return of, seq, kind, nil
	}
	v.events[seq] = e
	if terminal(kind) {
		if v.ended != 0 {
			l.wrongly("%s ended twice, with event %d and %d (%s)", of, v.ended, seq, from)
		}
		v.ended = seq
		if m.Data.Status != kind {
			l.wrongly("event %d of %s is %s, and its status %s", seq, of, kind, m.Data.Status)
		}
	}
	if v.sub == nil {
		if known := l.ids[of.id]; len(known) == 1 { // nobody else has the id
			l.claim(known[0], of, "its id")
		}
	}
	return of, seq, kind, nil
}

func terminal(kind string) bool {
	return kind == succeeded || kind == failed || kind == canceled || kind == expired
}

// over reports whether all lives of a submission that are known have ended, and there is one.
func (l *ledger) over(s *submission) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isOver(s)
}

func (l *ledger) isOver(s *submission) bool {
	if !s.accepted {
		return s.gaveUp
	}
	for _, of := range s.refs {
		if l.lives[of].ended == 0 {
			return false
		}
	}
	return len(s.refs) > 0
}

// outcome returns how the newest life of a submission ended.
func (l *ledger) outcome(s *submission) (of ref, kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(s.refs) == 0 {
		return of, ""
	}
	of = s.refs[len(s.refs)-1]
	if v := l.lives[of]; v.ended != 0 {
		kind = v.events[v.ended].kind
	}
	return of, kind
}

// forgets notes that the lives of a submission are about to be forgotten.
func (l *ledger) forgets(s *submission, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range s.refs {
		if v := l.lives[of]; v != nil {
			v.gone, v.taken = true, deleted
		}
	}
}

// open returns how many submissions, and how many lives, have not ended.
func (l *ledger) open() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.subs {
		if !l.isOver(s) {
			n++
		}
	}
	for _, v := range l.lives {
		if v.ended == 0 && len(v.events) > 0 {
			n++
		}
	}
	return n
}

// planOf returns the plan of a number, nil if nothing was submitted with it.
func (l *ledger) planOf(n int) *submission {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs[n]
}

// hand notes an attempt that a worker was handed.
func (l *ledger) hand(s *submission, of ref, attempt int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.claim(s, of, "the content of its work")
	if _, twice := v.handed[attempt]; twice {
		l.wrongly("n=%d %s: attempt %d was handed out twice", s.n, of, attempt)
	}
	v.handed[attempt] = time.Now()
	l.done["attempts handed to HTTP workers"]++
}

// known returns the lives that there have been.
func (l *ledger) known() map[ref]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := make(map[ref]bool, len(l.lives))
	for of := range l.lives {
		known[of] = true
	}
	return known
}
