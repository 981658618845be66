package bolt

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/webhook/dispatch"
)

// endpoint is where an endpoint stands. All endpoints are in memory, the writer's alone, so
// that an event finds those that take it, and a claim what is due, without looking at
// the others.
type endpoint struct {
	dispatch.Endpoint
	storedHealth
	serial    uint64           // names it in keys; no other ever has it
	unsettled int              // deliveries that wait or are being sent
	leases    map[uint64]lease // of deliveries, by serial
	last      int64            // when one was lent last
	// Its place in the schedule.
	at    int64 // when something may be claimed, at the earliest; never for nothing
	order uint64
	index int
}

// storedHealth is how an endpoint fares, as it is stored.
type storedHealth struct {
	Health dispatch.Health `json:"health"`         // without what is counted
	Named  int64           `json:"named,omitzero"` // until when it is named, if it is one-off
}

// lease is a claim. It is only in memory: when the process ends, so do all claims.
type lease struct {
	token string
	until int64
}

// never is later than everything.
const never = math.MaxInt64

// next returns when its rate allows the next one.
func (e *endpoint) next() int64 {
	if interval := e.Interval(); interval > 0 {
		return e.last + int64(interval)
	}
	return 0
}

// sending returns how many deliveries are under way, and when the first lease of them ends.
func (e *endpoint) sending(now int64) (n int, end int64) {
	end = never
	for _, l := range e.leases {
		if l.until > now {
			n++
			end = min(end, l.until)
		}
	}
	return n, end
}

func (e *endpoint) lent(delivery uint64, now int64) bool { return e.leases[delivery].until > now }

func (e *endpoint) health(now int64) dispatch.Health {
	h := e.Health
	h.Sending, _ = e.sending(now)
	h.Waiting = e.unsettled - h.Sending
	return h
}

// cloneEndpoint makes a copy that shares nothing that could be changed.
func cloneEndpoint(e dispatch.Endpoint) dispatch.Endpoint {
	e.Types, e.Routes, e.Topics = slices.Clone(e.Types), slices.Clone(e.Routes), slices.Clone(e.Topics)
	e.Secrets, e.Headers, e.Schedule = slices.Clone(e.Secrets), maps.Clone(e.Headers), slices.Clone(e.Schedule)
	return e
}

// endpoints finds endpoints, and keeps the schedule of their claims.
type endpoints struct {
	byID      map[string]*endpoint
	byOwner   map[string][]*endpoint // without one-off ones, by creation
	dead      map[*endpoint]bool     // one-off ones that are disabled
	all       []*endpoint            // those of all owners that are listed, by creation
	oneOffs   map[string]int         // by owner
	schedule  schedule
	order     uint64
	unsettled int   // deliveries of all
	widest    int   // endpoints that one event may go to, there were at most
	pruned    int64 // when one-off ones were looked through
}

func (s *endpoints) add(e *endpoint) {
	s.byID[e.ID] = e
	s.unsettled += e.unsettled
	list := s.byOwner[e.Owner]
	s.widest = max(s.widest, len(list)+1)
	if e.OneOff {
		s.oneOffs[e.Owner]++
	} else {
		i, _ := slices.BinarySearchFunc(list, e.serial, func(other *endpoint, serial uint64) int {
			return int(int64(other.serial - serial))
		})
		s.byOwner[e.Owner] = slices.Insert(list, i, e)
	}
	s.note(e)
	heap.Push(&s.schedule, e)
}

func (s *endpoints) remove(e *endpoint) {
	delete(s.byID, e.ID)
	delete(s.dead, e)
	if i := slices.Index(s.all, e); i >= 0 {
		s.all = slices.Delete(s.all, i, i+1)
	}
	if e.OneOff {
		if s.oneOffs[e.Owner]--; s.oneOffs[e.Owner] == 0 {
			delete(s.oneOffs, e.Owner)
		}
	}
	s.unsettled -= e.unsettled
	if list := slices.DeleteFunc(s.byOwner[e.Owner], func(other *endpoint) bool { return other == e }); len(list) > 0 {
		s.byOwner[e.Owner] = list
	} else {
		delete(s.byOwner, e.Owner)
	}
	heap.Remove(&s.schedule, e.index)
}

// note keeps account of whether an endpoint is listed. It is called whenever its status may have
// changed.
func (s *endpoints) note(e *endpoint) {
	if e.OneOff && e.Listed() {
		s.dead[e] = true
	} else {
		delete(s.dead, e)
	}
	i, listed := slices.BinarySearchFunc(s.all, e.serial, func(other *endpoint, serial uint64) int { return cmp.Compare(other.serial, serial) })
	switch want := !e.OneOff || s.dead[e]; {
	case want && !listed:
		s.all = slices.Insert(s.all, i, e)
	case !want && listed:
		s.all = slices.Delete(s.all, i, i+1)
	}
}

// count returns how many endpoints an owner has, of those for one request or of the others.
func (s *endpoints) count(owner string, oneOff bool) int {
	if oneOff {
		return s.oneOffs[owner]
	}
	return len(s.byOwner[owner])
}

// listed returns the endpoints that an owner finds in their list, by creation.
func (s *endpoints) listed(owner string) []*endpoint {
	list := slices.Clone(s.byOwner[owner])
	for e := range s.dead {
		if e.Owner == owner {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *endpoint) int { return cmp.Compare(a.serial, b.serial) })
	return list
}

// of returns an endpoint that somebody owns.
func (s *endpoints) of(owner, id string) (*endpoint, error) {
	if e := s.byID[id]; e != nil && e.Owner == owner {
		return e, nil
	}
	return nil, dispatch.ErrNotFound
}

// place lets an endpoint be looked at again at a time, behind the others of that time.
func (s *endpoints) place(e *endpoint, at int64) {
	s.order++
	e.at, e.order = at, s.order
	heap.Fix(&s.schedule, e.index)
}

// schedule is a heap of endpoints, the one first that is due first.
type schedule []*endpoint

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].order < s[j].order
}

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	e := x.(*endpoint)
	e.index = len(*s)
	*s = append(*s, e)
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	e := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return e
}

// loadEndpoints reads all endpoints. Whatever was claimed is due again: who claimed it is gone.
func (s *Store) loadEndpoints(tx *bolt.Tx) error {
	s.endpoints = endpoints{byID: make(map[string]*endpoint), byOwner: make(map[string][]*endpoint), dead: make(map[*endpoint]bool), oneOffs: make(map[string]int)}
	bySerial := make(map[uint64]*endpoint)
	if err := tx.Bucket(endpointsBucket).ForEach(func(key, stored []byte) error {
		e := &endpoint{leases: make(map[uint64]lease)}
		value, err := unseal(s.journal.strict, endpointsBucket, key, stored)
		if err != nil || len(value) < 8 || json.Unmarshal(value[8:], &e.Endpoint) != nil {
			return fmt.Errorf("the webhook endpoint %q is damaged. %s", key, orSalvage)
		}
		e.serial = binary.BigEndian.Uint64(value)
		value, err = s.journal.read(tx, healthBucket, position(nil, e.serial))
		if err == nil && value != nil {
			err = json.Unmarshal(value, &e.storedHealth)
		}
		if err != nil {
			return fmt.Errorf("the health of webhook endpoint %q is damaged. %s", key, orSalvage)
		}
		bySerial[e.serial] = e
		return nil
	}); err != nil {
		return err
	}
	for _, serial := range slices.Sorted(maps.Keys(bySerial)) { // so that lists grow at their ends
		s.endpoints.add(bySerial[serial])
	}
	return tx.Bucket(lanesBucket).ForEach(func(key, _ []byte) error {
		if len(key) < 8 {
			return fmt.Errorf("damaged key %q in the lanes", key)
		}
		if e := bySerial[binary.BigEndian.Uint64(key)]; e != nil {
			e.unsettled++
			s.endpoints.unsettled++
		}
		return nil
	})
}

// touch remembers an endpoint as it was before this batch changes it.
func (b *batch) touch(e *endpoint) {
	if b.touched[e] {
		return
	}
	b.touched[e] = true
	was := *e
	b.undo = append(b.undo, func() {
		// What is lent is taken back claim by claim, see lend and release.
		b.s.endpoints.unsettled += was.unsettled - e.unsettled
		e.Endpoint, e.storedHealth, e.unsettled, e.last = was.Endpoint, was.storedHealth, was.unsettled, was.last
		if b.s.endpoints.byID[e.ID] == e {
			b.s.endpoints.note(e)
			b.s.endpoints.place(e, 0)
		}
	})
}

// wake lets an endpoint be looked at now, and whoever waits claim again.
func (b *batch) wake(e *endpoint) {
	if now := nanos(b.now); e.at > now {
		b.s.endpoints.place(e, now)
	}
	b.due = b.due || e.Status == dispatch.Active
}

func (b *batch) saveEndpoint(e *endpoint) {
	value := binary.BigEndian.AppendUint64(nil, e.serial)
	encoded, err := json.Marshal(&e.Endpoint)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("encode endpoint %s: %w", e.ID, err)
	}
	b.put(endpointsBucket, []byte(e.ID), append(value, encoded...))
}

func (b *batch) saveHealth(e *endpoint) {
	value, err := json.Marshal(&e.storedHealth)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("encode health of endpoint %s: %w", e.ID, err)
	}
	b.put(healthBucket, position(nil, e.serial), value)
}

// name keeps a one-off endpoint until the retention after t. It is written down in steps, so
// that not every event of a request does.
func (b *batch) name(e *endpoint, t time.Time) {
	if nanos(t) <= e.Named {
		return
	}
	b.touch(e)
	step := max(int64(b.s.options.WebhookRetention)/24, 1)
	e.Named = (nanos(t)/step + 1) * step
	b.saveHealth(e)
}
