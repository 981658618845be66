package churn

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// inventory is what there is of everything that could stay, by name: what the stores hold, and what
// processes do.
type inventory struct {
	at    string // when: start, end, rest, or the time since the start
	found map[string]float64
}

// The beginnings of names in an inventory. What the store holds has those that [System.Kept] gives
// it.
const (
	inventoryGoroutines  = "goroutines"
	inventoryHeap        = "heap, MB"
	inventoryDescriptors = "descriptors"
	inventorySeries      = "series of metrics"
)

// take makes an inventory, of the gateways that answer, and notes it.
func (c *churn) take(ctx context.Context, at string) {
	i := inventory{at: at, found: make(map[string]float64)}
	if c.Kept != nil {
		kept, err := c.Kept(ctx)
		if err != nil {
			c.ledger.count("inventories of a store that failed")
		}
		maps.Copy(i.found, kept)
	}
	if metrics, err := c.scrape(ctx); err == nil {
		for n, m := range metrics {
			i.found[inventoryGoroutines] += m["go_goroutines"]
			i.found[inventoryHeap] += m["go_memstats_heap_inuse_bytes"] / (1 << 20)
			i.found[inventorySeries] += float64(len(m))
			if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Gateways[n].PID())); err == nil {
				i.found[inventoryDescriptors] += float64(len(open))
			}
		}
	}
	c.inventories = append(c.inventories, i)
}

// watch makes an inventory now and then until ctx ends.
func (c *churn) watch(ctx context.Context) {
	for pause(ctx, c.Every) {
		c.take(ctx, time.Since(c.began).Round(time.Second).String())
	}
}

// rest waits until what has a retention is forgotten, and checks that nothing is left beyond what
// there was before.
func (c *churn) rest(ctx context.Context) {
	c.take(ctx, "end")
	if c.Rest <= 0 {
		return
	}
	c.Phase("rest", c.Rest)
	for _, e := range c.receiver.stands {
		c.receiver.change(ctx, c.random(e.path+" leaves"), e, "DELETE", "")
	}
	before := c.inventories[0]
	// A good part of the rest is the retentions; the last of it is for what is swept now and then.
	if !pause(ctx, c.Rest) {
		return
	}
	c.calls.CloseIdleConnections()
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var left []string
	until(bounded, func() bool {
		c.take(bounded, "rest")
		last := c.inventories[len(c.inventories)-1]
		if left = stays(before, last); len(left) > 0 && bounded.Err() == nil {
			c.inventories = c.inventories[:len(c.inventories)-1] // looked at again
			pause(bounded, 2*time.Second)
		}
		return len(left) == 0
	})
	if len(left) > 0 {
		c.take(ctx, "rest")
	}
	for _, l := range left {
		c.ledger.violate("after rest: %s", l)
	}
	c.ledger.checked("things that could have stayed", len(before.found))
}

// retention is how long something is kept that would be for d.
func (c *churn) retention(d time.Duration) time.Duration {
	if c.Rest > 0 {
		return min(d, c.Rest/3)
	}
	return d
}

// timeout is how long a request may take that is not to run out of time. A one-off endpoint is kept
// for it.
func (c *churn) timeout() time.Duration {
	const least, most = 3 * time.Minute, 20 * time.Minute
	if c.Rest > 0 {
		return min(max(c.Rest/3, least), most)
	}
	return most
}

// slack is how much more of a thing there may be in the end than at the start, at one time or the
// other: of processes what comes and goes, of stores what is made when it is first used and is of
// no request.
func slack(name string, before float64) float64 {
	switch name {
	case inventoryGoroutines, inventoryDescriptors:
		return 40
	case inventoryHeap:
		return before + 64
	case inventorySeries:
		return before + 1200 // labels are fixed sets, those of resources as they are called first
	}
	switch {
	case strings.HasSuffix(name, "MB"): // of files, which are compacted by others
		return 1 << 30
	case strings.HasPrefix(name, "once: "):
		return 64
	}
	return 0
}

// stays says what there is more of than there was.
func stays(before, after inventory) (left []string) {
	for _, name := range slices.Sorted(maps.Keys(after.found)) {
		if was, is := before.found[name], after.found[name]; is > was+slack(name, was) {
			left = append(left, fmt.Sprintf("%s: %v, %v at the start", name, is, was))
		}
	}
	return left
}

// table is all inventories, a column each.
func table(all []inventory) string {
	names := make(map[string]bool)
	for _, i := range all {
		for name := range i.found {
			names[name] = true
		}
	}
	var b strings.Builder
	row := func(name string, cell func(inventory) string) {
		fmt.Fprintf(&b, "%-44s", name)
		for _, i := range all {
			fmt.Fprintf(&b, " %10s", cell(i))
		}
		b.WriteByte('\n')
	}
	row("what there is", func(i inventory) string { return i.at })
	for _, name := range slices.Sorted(maps.Keys(names)) {
		row(name, func(i inventory) string {
			n, ok := i.found[name]
			if !ok {
				return "."
			}
			return strconv.FormatFloat(n, 'f', -1, 64)[:min(10, len(strconv.FormatFloat(n, 'f', -1, 64)))]
		})
	}
	return b.String()
}
