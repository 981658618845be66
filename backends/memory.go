package backends

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// PaceMemory sets how often a process under load collects its heap, and gives memory back to the
// system when it is idle, until ctx ends. The runtime keeps up to as much again as is in use for
// the next allocations; after thousands of connections have been made, and wait, that would be most
// of what they cost. held returns how many bytes bodies have: these give no room to garbage, see
// memoryLimit. GOGC and GOMEMLIMIT, where they are set, hold instead.
func PaceMemory(ctx context.Context, held func() int64) {
	const (
		interval = time.Second
		quiet    = 2 << 20 // bytes allocated in an interval
		least    = 4 << 20 // bytes worth the collection
		// Quiet intervals after which others have let go of theirs, the log of the store above all.
		settled = 3
	)
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var allocated, freed, again uint64
	var calm int
	pace, limit := 100, int64(0)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(samples)
		now, objects, free, live := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[4].Value.Uint64()
		if next := gcPercent(live); next != pace && os.Getenv("GOGC") == "" {
			pace = next
			debug.SetGCPercent(pace)
		}
		if os.Getenv("GOMEMLIMIT") == "" && os.Getenv("GOGC") == "" {
			total, released := samples[5].Value.Uint64(), samples[6].Value.Uint64()
			// These are stacks, and what the runtime has for itself.
			beside := total - min(total, released+free+objects)
			if next := memoryLimit(live, uint64(held()), beside); next != limit {
				limit = next
				debug.SetMemoryLimit(limit)
			}
		}
		grown := now - allocated
		allocated = now
		if grown > quiet {
			calm = 0
			continue
		}
		calm++
		switch garbage := objects - min(objects, live); {
		case calm == settled && now-again >= least:
			// What was let go of since is not known as garbage yet.
			again = now
			runtime.GC() // pools let go of what they have at the second collection
		case now-freed >= least && free+garbage >= max(least, live/8):
		default: // nothing new since the last time: nothing to be had
			continue
		}
		debug.FreeOSMemory()
		freed = now
	}
}

// gcPercent is how much a heap with so many live bytes may grow before it is collected. By default
// it doubles, which a small one under load does many times a second; so it gets some room, which
// PaceMemory gives back.
func gcPercent(live uint64) int {
	const room, most = 128 << 20, 400
	percent := int(min(room*100/max(live, 1), most+100)) - 100
	return max(percent/100*100, 100) // in steps, because each change stops the world
}

// memoryLimit is up to how much memory the heap may grow before it is collected, whatever its pace
// is, in a process with so many live bytes, of which bodies of calls have held, and so many beside
// the heap. Large bodies come and go, and are copied on their way: if a heap could double by them,
// each would cost several times what it has. They hold no pointers, so a collection costs little
// for them.
func memoryLimit(live, held, beside uint64) int64 {
	const room, step = 128 << 20, 8 << 20
	rest := live - min(live, held)
	return int64((beside + held + max(2*rest, room) + step) / step * step)
}
