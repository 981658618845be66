package bolt

import (
	"slices"
	"sync"
	"sync/atomic"
)

// listeners is who wants to hear of something.
type listeners struct {
	mu   sync.Mutex
	list []*listener
}

type listener struct {
	f       func(id string)
	stopped atomic.Bool
}

// add lets f be called until stop is. A call that is running then goes on.
func (l *listeners) add(f func(id string)) (stop func()) {
	added := &listener{f: f}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, added)
	return func() {
		added.stopped.Store(true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(slices.Clone(l.list), func(other *listener) bool { return other == added })
	}
}

func (l *listeners) tell(id string) {
	l.mu.Lock()
	list := l.list // never changed in place below its length
	l.mu.Unlock()
	for _, listener := range list {
		if !listener.stopped.Load() {
			listener.f(id)
		}
	}
}
