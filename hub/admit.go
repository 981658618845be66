package hub

import (
	"math/rand/v2"
	"sync"
	"time"
)

// admission decides whether one more connection is taken on. What is shed is told so in the
// form that its client understands and comes back later, spread over a long time; a
// server that takes on more than it can serve serves nobody.
type admission struct {
	most      int     // connections; 0: any number
	perCaller int     // of one caller; 0: any number
	rate      float64 // new ones per second; 0: any number

	mu      sync.Mutex
	callers map[string]*caller // those with connections, if perCaller is set
	tokens  float64            // new ones that may come at once, at most one second's
	filled  time.Time
}

// caller counts the connections of one caller; under admission.mu.
type caller struct {
	name string
	open int
}

func newAdmission(o Options) *admission {
	return &admission{
		most: o.Connections, perCaller: o.PerCaller, rate: o.ConnectRate,
		callers: make(map[string]*caller), tokens: o.ConnectRate, filled: time.Now(),
	}
}

// admit reports whether a connection is taken on while open others are there. name is "" for a caller who
// has yet to say who it is, see count. who is to be given back to leave when it ends; it is nil if callers are not counted.
func (a *admission) admit(name string, open int64) (who *caller, ok bool) {
	if a.most > 0 && open >= int64(a.most) {
		return nil, false
	}
	if a.perCaller <= 0 && a.rate <= 0 {
		return nil, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if who = a.callers[name]; who != nil && who.open >= a.perCaller {
		return nil, false
	}
	if a.rate > 0 {
		now := time.Now()
		a.tokens = min(max(a.rate, 1), a.tokens+now.Sub(a.filled).Seconds()*a.rate)
		a.filled = now
		if a.tokens < 1 {
			return nil, false
		}
		a.tokens--
	}
	return a.enter(who, name), true
}

// count is admit for a connection that was taken on before it was known whose it is.
func (a *admission) count(name string) (who *caller, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if who = a.callers[name]; who != nil && who.open >= a.perCaller {
		return nil, false
	}
	return a.enter(who, name), true
}

// enter counts a connection of a caller, who is nil if there is none yet. Called under a.mu.
func (a *admission) enter(who *caller, name string) *caller {
	if a.perCaller <= 0 || name == "" {
		return nil
	}
	if who == nil {
		who = &caller{name: name}
		a.callers[name] = who
	}
	who.open++
	return who
}

func (a *admission) leave(who *caller) {
	if who == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if who.open--; who.open == 0 {
		delete(a.callers, who.name)
	}
}

// shedRetry is how long a client that was shed should stay away: ten to twenty times as long as
// one that was only cut off.
func (h *Hub) shedRetry() time.Duration {
	return time.Duration(float64(h.opts.Retry) * (10 + 10*rand.Float64()))
}
