package lease

import "time"

// attention is for how long a processor over HTTP counts as there after its last call: it may do
// other things between two of them.
const attention = 2 * time.Minute

// attended is what is known of the processors of a route.
type attended struct {
	now  int       // calls that look for its work, and leases of it that are out
	last time.Time // when a processor was last heard of, if now is 0
}

// Attended reports whether a processor over HTTP works on a route: it looks for work here now, has
// some, or has called within the last two minutes.
func (l *Leases) Attended(route string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.routes[route]
	return a != nil && (a.now > 0 || time.Since(a.last) < attention)
}

// Processors returns how many processors over HTTP there are now, by route: one for each call that
// looks for its work, and one for each attempt of it that is leased here.
func (l *Leases) Processors() map[string]int {
	all := make(map[string]int)
	l.mu.Lock()
	defer l.mu.Unlock()
	for route, a := range l.routes {
		if a.now > 0 {
			all[route] = a.now
		}
	}
	return all
}

// Attend notes that a processor over HTTP has reported on a route by another way than a lease.
func (l *Leases) Attend(route string) { l.attend(route)() }

// attend counts processors of routes until the function that it returns is called.
func (l *Leases) attend(routes ...string) (over func()) {
	count := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, route := range routes {
			a := l.routes[route]
			if a == nil {
				a = new(attended)
				l.routes[route] = a
			}
			a.now += n
			a.last = time.Now()
		}
	}
	count(1)
	return func() { count(-1) }
}
