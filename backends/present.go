package backends

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	"github.com/hark-push/hark/version"
)

// How often a process says that it is there, and for how long that holds: one that has died is
// there for a little longer.
const (
	attendEvery = 5 * time.Second
	attendFor   = 20 * time.Second
)

// NewProcess returns what a process that has been started now says of itself.
func NewProcess(kind string, now time.Time) lifecycle.Process {
	host, _ := os.Hostname()
	return lifecycle.Process{
		Name: fmt.Sprintf("%s-%d-%s", kind, os.Getpid(), rand.Text()[:8]), Kind: kind, Host: host, Version: version.String(), Since: now.UTC(),
	}
}

// Working returns what a process says of itself now, beside what does not change: its processors,
// and what was done of each route in the last minute.
func (b *Backends) Working(p lifecycle.Process, processors map[string]*processor.Processor) lifecycle.Process {
	p.Seen = b.Now().UTC()
	p.Processors = make(map[string]int64, len(processors))
	for route, of := range processors {
		p.Running += of.Stats().Running
		p.Processors[route] = 1
	}
	p.Minute = b.traffic.LastMinute(p.Seen)
	return p
}

// Attend says that this process is there, and what say tells of it, until ctx ends. Where the store
// is that of one process it returns at once. While the store is away the process is not there, to
// others.
func (b *Backends) Attend(ctx context.Context, say func() lifecycle.Process, log *slog.Logger) {
	store, ok := b.Store.(lifecycle.Presence)
	if !ok {
		return
	}
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	var name string
	for {
		p := say()
		name = p.Name
		if err := store.Attend(ctx, p, attendFor); err != nil && ctx.Err() == nil {
			log.Debug("the store does not take that this process is there", slog.Any("error", err))
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = store.Leave(last, name) // else it goes by itself
}

// Present returns the processes that share the store, nil if none can.
func (b *Backends) Present(ctx context.Context) ([]lifecycle.Process, error) {
	if store, ok := b.Store.(lifecycle.Presence); ok {
		return store.Present(ctx)
	}
	return nil, nil
}
