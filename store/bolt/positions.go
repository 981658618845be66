package bolt

import (
	"math/bits"
	"slices"
	"sync"
)

// levels is the number of priorities, 0 to 9.
const levels = 10

func level(priority int) int { return min(max(priority, 0), levels-1) }

// positions counts how many pending requests are ahead of one on its route. It
// holds a bit for each of them, by a ticket that rises with the time at which
// it became pending.
type positions struct {
	mu     sync.RWMutex
	routes map[string]*[levels]line
}

// line is the pending requests of one route and priority.
type line struct {
	total  int
	chunks []*chunk // by index; none is empty
}

const chunkSize = 4096

// chunk holds the tickets from index*chunkSize on.
type chunk struct {
	index uint64
	count int
	bits  [chunkSize / 64]uint64
}

func (p *positions) add(route string, priority int, ticket uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := p.routes[route]
	if lines == nil {
		if p.routes == nil {
			p.routes = make(map[string]*[levels]line)
		}
		lines = new([levels]line)
		p.routes[route] = lines
	}
	lines[level(priority)].add(ticket)
}

func (p *positions) remove(route string, priority int, ticket uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lines := p.routes[route]; lines != nil {
		lines[level(priority)].remove(ticket)
	}
}

// ahead returns how many are before the ticket, which need not be there.
func (p *positions) ahead(route string, priority int, ticket uint64) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	lines := p.routes[route]
	if lines == nil {
		return 0
	}
	n := lines[level(priority)].before(ticket)
	for higher := level(priority) + 1; higher < levels; higher++ {
		n += lines[higher].total
	}
	return n
}

// waiting returns how many there are of a route.
func (p *positions) waiting(route string) (n int64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if lines := p.routes[route]; lines != nil {
		for i := range lines {
			n += int64(lines[i].total)
		}
	}
	return n
}

func (l *line) find(index uint64) (int, bool) {
	// Nearly always the newest chunk.
	if n := len(l.chunks); n > 0 && l.chunks[n-1].index <= index {
		if l.chunks[n-1].index == index {
			return n - 1, true
		}
		return n, false
	}
	return slices.BinarySearchFunc(l.chunks, index, func(c *chunk, index uint64) int {
		switch {
		case c.index < index:
			return -1
		case c.index > index:
			return 1
		}
		return 0
	})
}

func (l *line) add(ticket uint64) {
	i, found := l.find(ticket / chunkSize)
	if !found {
		l.chunks = slices.Insert(l.chunks, i, &chunk{index: ticket / chunkSize})
	}
	word, bit := &l.chunks[i].bits[ticket%chunkSize/64], uint64(1)<<(ticket%64)
	if *word&bit == 0 {
		*word |= bit
		l.chunks[i].count++
		l.total++
	}
}

func (l *line) remove(ticket uint64) {
	i, found := l.find(ticket / chunkSize)
	if !found {
		return
	}
	word, bit := &l.chunks[i].bits[ticket%chunkSize/64], uint64(1)<<(ticket%64)
	if *word&bit == 0 {
		return
	}
	*word &^= bit
	l.total--
	if l.chunks[i].count--; l.chunks[i].count == 0 {
		l.chunks = slices.Delete(l.chunks, i, i+1)
	}
}

func (l *line) before(ticket uint64) int {
	i, found := l.find(ticket / chunkSize)
	n := 0
	for _, c := range l.chunks[:i] {
		n += c.count
	}
	if !found {
		return n
	}
	c, word := l.chunks[i], ticket%chunkSize/64
	for _, w := range c.bits[:word] {
		n += bits.OnesCount64(w)
	}
	return n + bits.OnesCount64(c.bits[word]&(1<<(ticket%64)-1))
}
