// Package churn drives a gateway, or several with their workers, with everything that clients,
// processors and operators may do at the same time, while all of them die, fall silent, are cut off
// and come back, and then checks that every request ended once and as it was asked to, that every
// follower's sequence was whole, and that nothing was left behind.
//
// It is a check and no benchmark: nothing in it depends on how fast anything is. It speaks the
// public wires only. What is to happen to a request is chosen when it is submitted, from a seed,
// and stands in a plan that the client keeps; HTTP workers, which are part of the client, read
// their part there. Whatever anybody sees of a request goes into one ledger, which is held against
// the plans when all has ended.
package churn

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// System is what is driven.
type System struct {
	Gateways []*Process
	Workers  []*Process // processes of the SDK; none if they run inside the gateway
	// Mortal is how many of the workers, from the first, may be killed. The others live, so that an
	// attempt of theirs that is superseded is a fault.
	Mortal int
	Keys   string // path of the gateways' file of keys, which is written here
	// Queues returns how many messages are in the queues behind the gateways, by name; nil if there
	// are none.
	Queues func() (map[string]int, error)
	// Memory returns the bytes that the gateways hold.
	Memory func() (float64, error)
	// Kept returns how many of each kind of thing their store holds, by name; nil if nobody knows.
	Kept func(context.Context) (map[string]float64, error)
}

// Options say how long and how hard. The zero value works.
type Options struct {
	// How long the disturbances last; what is under way then is waited for. Default a minute.
	Duration time.Duration
	// Duration is split into so many, with a rest behind each, when memory is looked at; default 1.
	Rounds  int
	Seed    uint64        // of all choices
	Rate    float64       // requests per second, those of batches included; default 15
	Largest int           // bytes of a result; default 5 MiB
	Drain   time.Duration // longest wait for what is under way; default three minutes
	// Every is how often it is written down what there is, besides at the start, at the end and
	// after the rest; default five minutes.
	Every time.Duration
	// Rest is how long it is waited in the end until all is forgotten, so that nothing may be left
	// then. Nothing has a timeout or a retention of more than a third of it, which takes ten
	// minutes at least. Zero: it is not waited for, and not checked.
	Rest time.Duration
	// Phase is told what begins; nil tells nobody.
	Phase func(name string, d time.Duration)
}

// Figure is one line of what was done or checked.
type Figure struct {
	Name  string
	Value float64
	Unit  string
}

// Report is what a run says.
type Report struct {
	Done, Checked []Figure
	// Inventory is a table of what there was, when.
	Inventory string
	// Violations are all that was found, the first ones first. A run without any is good.
	Violations []string
}

// Owners are the subjects that submit, and Processors those that work; each has a key at any time.
const (
	owners     = 3
	processors = 2
)

// churn is one run.
type churn struct {
	System
	Options
	began    time.Time
	ledger   *ledger
	owners   []*caller
	workers  []*caller
	calls    *http.Client
	streams  *http.Client
	proxies  []*proxy // one in front of each gateway, for followers
	receiver *receiver
	conns    connections

	inventories []inventory

	numbers struct {
		sync.Mutex
		last int
	}
	// Of the round; set before any of its goroutines begins.
	lasting   context.Context // of what clients have begun, which is brought to an end
	letGo     func()          // ends lasting
	disturbed context.Context // ends when the disturbances of a round do
	under     sync.WaitGroup  // goroutines of single requests: cancels, followers, checks
}

// Run drives a system whose processes have not been started. It returns an error only if it could
// not be driven at all, or ctx has ended. All that it has started is over when it returns.
func Run(ctx context.Context, s System, o Options) (r Report, err error) {
	if o.Duration <= 0 {
		o.Duration = time.Minute
	}
	o.Rounds = max(o.Rounds, 1)
	if o.Rate <= 0 {
		o.Rate = 15
	}
	if o.Largest <= 0 {
		o.Largest = 5 << 20
	}
	if o.Drain <= 0 {
		o.Drain = 3 * time.Minute
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Minute
	}
	if o.Phase == nil {
		o.Phase = func(string, time.Duration) {}
	}
	c := &churn{System: s, Options: o, began: time.Now()}
	c.ledger = newLedger(c.began)
	c.calls = &http.Client{Timeout: 45 * time.Second, Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 5 * time.Second}}
	c.streams = &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	c.conns.open = make(map[*connection]bool)
	return c.run(ctx)
}

func (c *churn) run(ctx context.Context) (r Report, err error) {
	if err := c.makeKeys(); err != nil {
		return r, err
	}
	for _, p := range append(append([]*Process(nil), c.Gateways...), c.Workers...) {
		p.ledger = c.ledger
		defer p.end()
	}
	for _, p := range c.Gateways {
		proxy, err := newProxy(p.Addr)
		if err != nil {
			return r, err
		}
		defer proxy.close()
		c.proxies = append(c.proxies, proxy)
		if err := p.start(ctx); err != nil {
			return r, err
		}
	}
	for _, p := range c.Workers {
		if err := p.start(ctx); err != nil {
			return r, err
		}
	}
	if c.receiver, err = newReceiver(c); err != nil {
		return r, err
	}
	defer c.receiver.close()
	defer c.calls.CloseIdleConnections()

	// At rest, so that what is held in the end has something to be compared with.
	baseline, err := c.scrape(ctx)
	if err != nil {
		return r, err
	}
	c.take(ctx, "start")
	if err := c.receiver.stand(ctx); err != nil {
		return r, err
	}
	var memory []float64
	watching, unwatch := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { c.watch(watching) })
	defer watched.Wait()
	defer unwatch()
	for round := range c.Rounds {
		if c.round(ctx, round, round == c.Rounds-1); ctx.Err() != nil {
			return r, ctx.Err()
		}
		if n, err := c.held(ctx, memory); err != nil {
			return r, err
		} else if n > 0 {
			memory = append(memory, n)
		}
	}
	c.Phase("checking", 0)
	c.atRest(ctx, baseline)
	c.checkMemory(memory)
	c.ledger.check(c)
	c.receiver.check()
	unwatch()
	watched.Wait()
	c.rest(ctx)
	r = c.ledger.report(c, memory)
	r.Inventory = table(c.inventories)
	return r, nil
}

// round disturbs for a part of the time, and waits until all is at rest.
func (c *churn) round(ctx context.Context, round int, last bool) {
	part := c.Duration / time.Duration(c.Rounds)
	c.Phase(fmt.Sprintf("churn %d of %d", round+1, c.Rounds), part)
	feeding, stopFeeds := context.WithCancel(ctx)
	working, stopWork := context.WithCancel(ctx)
	disturbing, stop := context.WithTimeout(ctx, part)
	defer stop()
	c.disturbed = disturbing
	c.lasting, c.letGo = context.WithCancel(ctx)
	defer c.letGo()
	var feeds, work, disturbances sync.WaitGroup
	followers := c.feeds(feeding, round, &feeds)
	c.work(working, round, &work)
	for _, actor := range []struct {
		name string
		do   func(context.Context, *rand.Rand)
	}{
		{"submit", c.submitSingles},
		{"batches", c.submitBatches},
		{"slots 0", c.reuse(0)},
		{"slots 1", c.reuse(1)},
		{"slots 2", c.reuse(2)},
		{"processes", c.disturbProcesses},
		{"cuts", c.cut},
		{"keys", c.rotateKeys},
		{"endpoints", c.receiver.comeAndGo},
		{"weather", c.receiver.weather},
	} {
		random := c.random(fmt.Sprint(actor.name, round))
		disturbances.Go(func() { actor.do(disturbing, random) })
	}
	<-disturbing.Done()
	c.Phase("draining", 0)
	disturbances.Wait()
	for _, p := range append(append([]*Process(nil), c.Gateways...), c.Workers...) {
		if err := p.start(ctx); err != nil { // does nothing if it runs
			c.ledger.violate("%s cannot be started again: %v", p.Name, err)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, c.Drain)
	defer cancel()
	c.drain(bounded, followers)
	if last {
		c.Phase("calm", 0)
		c.calm(bounded, followers)
	}
	stopWork()
	work.Wait()
	stopFeeds()
	feeds.Wait()
	c.under.Wait()
	for _, f := range followers {
		f.checkFeed()
	}
}

// random returns a source of choices of its own for somebody.
func (c *churn) random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(c.Seed, h.Sum64()))
}

// next returns the number of the next submission.
func (c *churn) next() int {
	c.numbers.Lock()
	defer c.numbers.Unlock()
	c.numbers.last++
	return c.numbers.last
}

// pause waits, and says whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// until looks every now and then until something is so, and says whether ctx lasted for that.
func until(ctx context.Context, so func() bool) bool {
	for !so() {
		if !pause(ctx, 50*time.Millisecond) {
			return false
		}
	}
	return true
}

// between returns a duration from a range.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// one reports true once in n times.
func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }
