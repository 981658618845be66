package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/deadline"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis/link"
	"github.com/hark-push/hark/webhook/dispatch"
)

// Options of a [Store]. The zero value works.
type Options struct {
	// Client, if set, is how to reach Redis instead of a URL. Timeout, retries
	// and the protocol are set by Open.
	Client *goredis.UniversalOptions

	// Prefix begins every key and every channel; default "hark". Two stores
	// on one server need two.
	Prefix string

	// Partitions is into how many hash slots the requests are spread. 0: as the
	// store was made with; a new one gets 1, or 16 on a Cluster. Opening with
	// another number than the store was made with fails.
	Partitions int

	// Queue has the work queued in Redis, by the steps that let it be worked on: see [Store.Queue].
	// All processes that share a store need the same.
	Queue bool

	// Timeout bounds every call to the store, retries included, but for one that
	// sends those of others along, which may take twice as long; default 5 s.
	Timeout time.Duration

	// History is how many events are kept of each request, FeedHistory of each
	// feed; up to an eighth more may be there. Defaults: 256 and 10,000.
	History     int
	FeedHistory int

	// FeedRetention is how long a feed keeps an event; the next Sweep after it drops
	// the event. Default 24 hours.
	FeedRetention time.Duration

	// WebhookRetention is how long a webhook delivery is kept after it was settled, and a one-off
	// endpoint after it was named; the next Sweep after it forgets them. Default 7 days.
	WebhookRetention time.Duration

	// Margin is how long an ended request stays beyond its retention if nobody
	// sweeps; Redis then drops it by itself. Default 24 hours. Requests that have
	// not ended stay for ever.
	Margin time.Duration

	// Check is how often the newest offset of each watched channel is compared
	// with what has been received; default 30 s, ± a quarter.
	Check time.Duration

	// Stall says for how long Sweep expires no request and Claim takes nothing back, and is told
	// when the store was away between two Sweeps, which are to come each second at least then. Nil:
	// never.
	Stall *stall.Watch

	// Damages is told of what is found damaged; nil: nobody is.
	Damages *codec.Damages

	// Meter is told of the steps of requests that this process has made; nil: nobody is.
	Meter lifecycle.StepMeter
	// Calls is told of the calls to the store; nil: nobody is.
	Calls lifecycle.CallMeter

	Logger *slog.Logger // default: discard
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "hark"
	}
	set := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	set(&o.History, codec.History)
	set(&o.FeedHistory, codec.FeedHistory)
	wait := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	wait(&o.Timeout, 5*time.Second)
	wait(&o.FeedRetention, codec.FeedRetention)
	wait(&o.WebhookRetention, codec.WebhookRetention)
	wait(&o.Margin, 24*time.Hour)
	wait(&o.Check, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store implements lifecycle.Store, lifecycle.Housekeeping, lifecycle.Cancellations,
// lifecycle.Source and dispatch.Store over Redis. All methods may be called concurrently.
//
// Whatever goes wrong with Redis is lifecycle.ErrUnavailable, within Options.Timeout.
type Store struct {
	options Options
	log     *slog.Logger
	client  *link.Client
	tags    []string // the beginning of every key of each partition
	all     []int    // the partitions
	publish string   // the command that publishes: PUBLISH or SPUBLISH
	alone   bool     // whether all subscribe at the server that publishes, and it tells of them
	writers writers
	works   works

	streamWriters streamWriters

	clock    link.Clock
	recent   recent
	taken    recent     // records of work that was taken, and is about to be started
	changing keyedMutex // by id, of the requests that are being changed, and by key, of the streams
	streams  recentStreams
	appends  appends
	places   places // of watched streams
	name     string // of this process
	// When a sweep last saw what is due, in ns on this process's clock; 0: never.
	swept  atomic.Int64
	usages usages
	ahead  atomic.Int64 // µs that tests let the scripts' time run ahead

	rankBy atomic.Pointer[func(priority int) int] // see RankBy
	// When other partitions are asked for positions again.
	countAgain atomic.Int64
	// When each partition that did not answer is asked for deliveries again.
	claimAgain []atomic.Int64
	turn       atomic.Uint32 // which partition a Claim asks first

	subscribers []*link.Subscriber // by partition where pub/sub is sharded, else one for all
	plain       *link.Subscriber   // for what is not sharded
	listener    atomic.Pointer[func(string, lifecycle.Message)]
	stale       stale
	relays      map[route]*relay
	cancels     codec.Listeners
	sessions    codec.Listeners
	due         codec.Listeners
	freed       codec.Listeners // of slots
	paces       paces

	stop    context.CancelFunc // ends every goroutine
	running sync.WaitGroup
	closing sync.Once
}

var (
	_ lifecycle.Store         = (*Store)(nil)
	_ lifecycle.Housekeeping  = (*Store)(nil)
	_ lifecycle.Cancellations = (*Store)(nil)
	_ lifecycle.Source        = (*Store)(nil)
	_ lifecycle.Slots         = (*Store)(nil)
	_ lifecycle.Paces         = (*Store)(nil)
	_ lifecycle.Standings     = (*Store)(nil)
	_ lifecycle.Dead          = (*Store)(nil)
	_ dispatch.Store          = (*Store)(nil)
)

// Open connects to Redis and opens the store in it; an empty database becomes a new store. See
// [link.ParseURL] for the forms of url. It fails if Redis cannot be reached, with
// lifecycle.ErrUnavailable (see [OpenPatiently]), is older than 6.2, or holds a store of a newer
// layout or of other partitions. Close the store.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o = o.withDefaults()
	how := o.Client
	if how == nil {
		parsed, err := link.ParseURL(url)
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		how = parsed
	}
	s := &Store{options: o, log: o.Logger, client: link.Connect(how, o.Timeout), publish: "PUBLISH", name: newToken()}
	bound, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if err := s.prepare(bound, ctx); err != nil {
		return nil, errors.Join(opening(err), s.client.Close())
	}
	s.writers, s.works, s.streamWriters = s.newWriters(), s.newWorks(), s.newStreamWriters()
	s.start()
	return s, nil
}

// start starts the goroutines of the store.
func (s *Store) start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	subscriber := func(sharded bool) *link.Subscriber {
		subscriber := link.NewSubscriber(s.client, sharded, s.options.Timeout, s.log)
		subscriber.Run(ctx)
		return subscriber
	}
	s.plain = subscriber(false)
	s.subscribers = []*link.Subscriber{s.plain}
	if s.publish == "SPUBLISH" {
		s.subscribers = nil
		for range s.tags {
			s.subscribers = append(s.subscribers, subscriber(true))
		}
	}
	s.stale.wake = make(chan struct{}, 1)
	s.running.Go(func() { s.resync(ctx) })
	s.running.Go(func() { s.check(ctx) })
	s.paces.samples = make(chan timedSample, samplesMost)
	s.running.Go(func() { s.addPaces(ctx) })
}

// Close ends the subscriptions and closes the connections. Operations after it
// fail with lifecycle.ErrUnavailable.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.stop()
		for _, subscriber := range append(s.subscribers, s.plain) {
			subscriber.Close()
		}
		s.running.Wait()
		err = s.client.Close()
	})
	return err
}

// Now returns the time on the server's clock, by which the times of a request are meant.
// It is as much too early as the server's last answer was on its way, and never too late.
func (s *Store) Now() time.Time { return s.clock.Now() }

// Probe publishes a message to this process on every connection that is subscribed to channels and
// returns once it has come back: then live events reach this process. Before that it writes a key
// in each partition, which goes by itself: then what is submitted can be stored. An error is
// lifecycle.ErrUnavailable, lifecycle.ErrFull too if a server has no memory for the key, and
// [ErrReplica] if it takes no writes because it is one.
func (s *Store) Probe(ctx context.Context) error {
	bound, cancel := s.bounded(ctx)
	defer cancel()
	if _, err := s.client.Pipelined(bound, func(p goredis.Pipeliner) error {
		for _, tag := range s.tags {
			p.Set(bound, tag+"probe", "", probeTTL)
		}
		return nil
	}); err != nil {
		if link.ReadOnly(err) {
			err = fmt.Errorf("%w: %w", ErrReplica, err)
		}
		return failed(ctx, err)
	}
	for partition, subscriber := range s.subscribers {
		if err := subscriber.Probe(bound, s.tags[partition]+"b:probe:"+s.name); err != nil {
			return failed(ctx, err)
		}
	}
	return nil
}

// probeTTL is how long the key of a probe stays.
const probeTTL = time.Second

// ErrReplica is the error of a server that takes no writes because it follows another one.
var ErrReplica = errors.New("the server is a replica")

// bounded returns ctx with the store's timeout.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return deadline.Within(ctx, s.options.Timeout)
}

// failed wraps what Redis or the connection said. What the caller's own context
// says is found in it too.
func failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*lifecycle.DamageError](err); ok { // Redis itself is well
		return err
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	if link.Full(err) {
		return fmt.Errorf("%w: store: %w: %w", lifecycle.ErrUnavailable, lifecycle.ErrFull, err)
	}
	return fmt.Errorf("%w: store: %w", lifecycle.ErrUnavailable, err)
}

// damaged tells of something that was stored and is not what it was, and returns that.
func (s *Store) damaged(id, what string, err error) error {
	return s.options.Damages.Note(&lifecycle.DamageError{ID: id, What: what, Err: fmt.Errorf("store: %w", err)})
}

// record reads a record, and tells if it is damaged.
func (s *Store) record(id, value string) (*record, error) {
	r, err := decodeRecord(id, value)
	if err != nil {
		_ = s.options.Damages.Note(err)
	}
	return r, err
}

// partName is how a part is called in errors.
func partName(p lifecycle.Part) string {
	switch p {
	case lifecycle.Output:
		return "the result"
	case lifecycle.Answers:
		return "the answers"
	default:
		return "the content"
	}
}

// kindOf is what stands between the tag and the name in the key of a part.
func kindOf(p lifecycle.Part) string {
	switch p {
	case lifecycle.Output:
		return "o:"
	case lifecycle.Answers:
		return "a:"
	default:
		return "i:"
	}
}
