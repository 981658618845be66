package backends

import (
	"maps"
	"slices"

	"github.com/hark-push/hark/broker/memory"
	"github.com/hark-push/hark/processor"
)

// Pool is what the processors of one process do, for /v1/health.
type Pool struct {
	PoolFigures
	Routes []PoolRoute `json:"routes"`
	Queue  PoolQueue   `json:"queue"`
}

// PoolRoute is one route of it.
type PoolRoute struct {
	Route string `json:"route"`
	PoolFigures
}

// PoolFigures count attempts since the process began.
type PoolFigures struct {
	Concurrency int   `json:"concurrency"` // that may run at a time
	Running     int64 `json:"running"`
	Succeeded   int64 `json:"succeeded"`
	Failed      int64 `json:"failed"`
	Returned    int64 `json:"returned"`
	Overtaken   int64 `json:"overtaken"`
}

// PoolQueue is what the broker counts, of which others than that in memory tell of this process
// alone.
type PoolQueue struct {
	Kind        string `json:"kind"` // memory, redis or rabbitmq
	Connected   bool   `json:"connected"`
	Waiting     *int   `json:"waiting,omitempty"` // in memory
	Published   int64  `json:"published,omitempty"`
	Delivered   int64  `json:"delivered,omitempty"`
	Redelivered int64  `json:"redelivered,omitempty"`
}

// Pool returns what processors do, by their routes.
func (b *Backends) Pool(processors map[string]*processor.Processor) Pool {
	p := Pool{Routes: []PoolRoute{}, Queue: PoolQueue{Kind: "memory", Connected: true}}
	for _, route := range slices.Sorted(maps.Keys(processors)) {
		s := processors[route].Stats()
		p.Routes = append(p.Routes, PoolRoute{route, PoolFigures(s)})
		p.Concurrency += s.Concurrency
		p.Running += s.Running
		p.Succeeded += s.Succeeded
		p.Failed += s.Failed
		p.Returned += s.Returned
		p.Overtaken += s.Overtaken
	}
	if queue, ok := b.Broker.(*memory.Broker); ok {
		p.Queue.Waiting = new(queue.Waiting())
	}
	if b.Work != nil {
		s := b.Work.Stats()
		p.Queue = PoolQueue{Kind: "redis", Connected: s.Connected, Delivered: s.Delivered, Redelivered: s.Redelivered}
	}
	if b.Rabbit != nil {
		s := b.Rabbit.Stats()
		p.Queue = PoolQueue{Kind: "rabbitmq", Connected: s.Connected, Published: s.Published, Delivered: s.Delivered, Redelivered: s.Redelivered}
	}
	return p
}
