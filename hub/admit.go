package hub

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// admission decides whether one more connection is taken on. What is shed is told so in the form
// that its client understands and comes back later, spread over a long time; a server that takes on
// more than it can serve serves nobody. Each caller and each address has a share, so that none
// takes everybody's place.
type admission struct {
	opts   Options
	counts bool // of callers, addresses or rates: else nothing needs the lock
	seed   maphash.Seed

	mu         sync.Mutex
	callers    map[string]*caller       // those with connections, if PerCaller is set
	addresses  map[seat]int             // connections by address, if PerAddress is set
	unproven   int                      // connections that have yet to say who they are
	unprovenOf map[seat]int             // of these by address
	rate       *rate.Limiter            // of all, nil for none
	rates      map[uint64]*rate.Limiter // of callers and addresses that came lately
	swept      time.Time
}

// seat stands for an address that connections come from; 0 is none. It is a hash, so that a
// connection keeps two bytes of it: two addresses that have the same one, which nobody can bring
// about, share what is for one.
type seat uint16

// caller counts the connections of one caller; under admission.mu.
type caller struct {
	name string
	open int
}

// limit is one that a connection has met; nil: none.
type limit struct {
	number int    // its place in limits
	policy string // its name, for programs
	// For who reads it: of the options of the gateway it names the one that sets it; 123 bytes at
	// most (RFC 6455, section 5.5.1).
	detail string
}

// The limits, as clients are told of them.
var (
	limitAll             = &limit{0, "connections", "too many connections (--max-connections, or the limit of open files), try later"}
	limitCaller          = &limit{1, "connections-per-caller", "too many connections of this caller (--max-per-caller), try later"}
	limitAddress         = &limit{2, "connections-per-address", "too many connections from this address (--max-per-address), try later"}
	limitUnproven        = &limit{3, "unproven", "too many connections that have not said who they are (--max-unproven), try later"}
	limitUnprovenAddress = &limit{4, "unproven-per-address", "too many from this address that have not said who they are (--max-unproven-per-address), try later"}
	limitRate            = &limit{5, "connect-rate", "too many new connections in a second (--connect-rate), try later"}
	limitRateCaller      = &limit{6, "connect-rate-per-caller", "too many new connections of this caller in a second (--connect-rate-per-caller), try later"}
	limitRateAddress     = &limit{7, "connect-rate-per-address", "too many new connections from this address in a second (--connect-rate-per-address), try later"}
)

var limits = [...]*limit{limitAll, limitCaller, limitAddress, limitUnproven, limitUnprovenAddress, limitRate, limitRateCaller, limitRateAddress}

func newAdmission(o Options) *admission {
	a := &admission{
		opts:   o,
		counts: o.PerCaller > 0 || o.PerAddress > 0 || o.ConnectRate > 0 || o.RatePerCaller > 0 || o.RatePerAddress > 0,
		seed:   maphash.MakeSeed(), callers: make(map[string]*caller), addresses: make(map[seat]int), unprovenOf: make(map[seat]int),
		rates: make(map[uint64]*rate.Limiter),
	}
	if o.ConnectRate > 0 {
		a.rate = perSecond(o.ConnectRate)
	}
	return a
}

// perSecond returns a token bucket that holds what comes in a second, and is full.
func perSecond(n float64) *rate.Limiter { return rate.NewLimiter(rate.Limit(n), int(max(n, 1))) }

// place is what a connection takes of what is counted, to be given back to leave when it ends.
type place struct {
	who      *caller // nil if callers are not counted
	from     seat    // 0 if addresses are not counted, or its is not known
	unproven bool    // it has yet to say who it is
}

// seatOf returns the seat of an address, which may be the zero value.
func (a *admission) seatOf(from netip.Addr) seat {
	if !from.IsValid() {
		return 0
	}
	return seat(maphash.Comparable(a.seed, from)%(1<<16-1)) + 1
}

// admit takes a connection on while open others are there, or says which limit it has met. name is
// "" for a caller who has yet to say who it is, see prove; from is the zero value if it is not
// known.
func (a *admission) admit(name string, from netip.Addr, unproven bool, open int64) (place, *limit) {
	if a.opts.Connections > 0 && open >= int64(a.opts.Connections) || a.opts.Room != nil && !a.opts.Room() {
		return place{}, limitAll
	}
	if !a.counts && !unproven {
		return place{}, nil
	}
	p := place{from: a.seatOf(from), unproven: unproven}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.full(name):
		return place{}, limitCaller
	case p.from != 0 && a.opts.PerAddress > 0 && a.addresses[p.from] >= a.opts.PerAddress:
		return place{}, limitAddress
	case unproven && a.opts.Unproven > 0 && a.unproven >= a.opts.Unproven:
		return place{}, limitUnproven
	case unproven && a.opts.UnprovenPerAddress > 0 && p.from != 0 && a.unprovenOf[p.from] >= a.opts.UnprovenPerAddress:
		return place{}, limitUnprovenAddress
	}
	if met := a.within(name, p.from); met != nil {
		return place{}, met
	}
	p.who = a.enter(name)
	if p.from != 0 && a.opts.PerAddress > 0 {
		a.addresses[p.from]++
	}
	if unproven {
		a.unproven++
		a.unprovenOf[p.from]++
	}
	return p, nil
}

// prove counts a connection as one of a caller that was taken on before it was known whose it is,
// and p as that of one that is proven. It reports false if its caller has too many.
func (a *admission) prove(p *place, name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full(name) {
		return false
	}
	a.proven(p)
	p.who = a.enter(name)
	return true
}

// proven takes a connection out of the count of those that have yet to say who they are. Called
// under a.mu, as are those that follow.
func (a *admission) proven(p *place) {
	if !p.unproven {
		return
	}
	p.unproven = false
	a.unproven--
	if a.unprovenOf[p.from]--; a.unprovenOf[p.from] == 0 {
		delete(a.unprovenOf, p.from)
	}
}

// full reports whether a caller has as many connections as it may have.
func (a *admission) full(name string) bool {
	who := a.callers[name]
	return who != nil && who.open >= a.opts.PerCaller
}

// enter counts a connection of a caller.
func (a *admission) enter(name string) *caller {
	if a.opts.PerCaller <= 0 || name == "" {
		return nil
	}
	who := a.callers[name]
	if who == nil {
		who = &caller{name: name}
		a.callers[name] = who
	}
	who.open++
	return who
}

// leave gives back what a connection took, which may be nothing.
func (a *admission) leave(p place) {
	if p == (place{}) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proven(&p)
	if who := p.who; who != nil {
		if who.open--; who.open == 0 {
			delete(a.callers, who.name)
		}
	}
	if p.from != 0 && a.opts.PerAddress > 0 {
		if a.addresses[p.from]--; a.addresses[p.from] == 0 {
			delete(a.addresses, p.from)
		}
	}
}

// within takes a token of each rate that there is, or none and returns the one that is used up.
func (a *admission) within(name string, from seat) *limit {
	now := time.Now()
	a.sweep(now)
	rates := [...]struct {
		of    *rate.Limiter
		limit *limit
	}{
		{a.rateOf(maphash.String(a.seed, name)|1, name != "", a.opts.RatePerCaller), limitRateCaller},
		{a.rateOf(uint64(from)<<1, from != 0, a.opts.RatePerAddress), limitRateAddress},
		{a.rate, limitRate},
	}
	for _, r := range rates {
		if r.of != nil && r.of.TokensAt(now) < 1 {
			return r.limit
		}
	}
	for _, r := range rates {
		if r.of != nil {
			r.of.AllowN(now, 1) // it has one, and nobody else takes it under the lock
		}
	}
	return nil
}

// rateOf returns the bucket of a caller or an address, nil if it needs none.
func (a *admission) rateOf(key uint64, known bool, n float64) *rate.Limiter {
	if !known || n <= 0 {
		return nil
	}
	b := a.rates[key]
	if b == nil {
		b = perSecond(n)
		a.rates[key] = b
	}
	return b
}

// sweep lets go of buckets that are full again, now and then.
func (a *admission) sweep(now time.Time) {
	if now.Sub(a.swept) < time.Minute {
		return
	}
	a.swept = now
	for key, b := range a.rates {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(a.rates, key)
		}
	}
}

// shedRetry is how long a client that was shed should stay away: ten to twenty times as long as
// one that was only cut off.
func (h *Hub) shedRetry() time.Duration {
	return time.Duration(float64(h.opts.Retry) * (10 + 10*rand.Float64()))
}
