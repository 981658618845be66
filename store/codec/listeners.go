// Package codec holds what both stores write and read in the same form: records, bodies, sums; and
// what else they are both made of.
package codec

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Listeners is who wants to hear of something. The zero value is ready; methods may be called
// concurrently.
type Listeners struct {
	mu   sync.Mutex
	list []*listener
}

type listener struct {
	f       func(string)
	stopped atomic.Bool
}

// Add has f called until stop is. A call that is running then goes on.
func (l *Listeners) Add(f func(string)) (stop func()) {
	added := &listener{f: f}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(slices.Clip(l.list), added)
	return func() {
		added.stopped.Store(true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(slices.Clone(l.list), func(other *listener) bool { return other == added })
	}
}

// Tell calls all of them, one after the other.
func (l *Listeners) Tell(what string) {
	l.mu.Lock()
	all := l.list // never changed in place
	l.mu.Unlock()
	for _, each := range all {
		if !each.stopped.Load() {
			each.f(what)
		}
	}
}
