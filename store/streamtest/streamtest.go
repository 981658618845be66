// Package streamtest holds every store of streams against the contract of [stream.Store], and
// against what lifecycle.Source says of streams. A driver's own test opens it and calls [Run].
package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
)

// Store is everything that a driver implements.
type Store interface {
	stream.Store
	lifecycle.Store
	lifecycle.Housekeeping
	lifecycle.Source
}

// Instance is an open and empty store.
type Instance struct {
	Store Store
	// Advance moves the store's clock forward.
	Advance func(d time.Duration)
	// Reopen closes the store and opens it again with what it holds, as after a restart. Nil if the
	// driver has nothing of its own that could be lost.
	Reopen func() Store
	// Approximate says that what an owner takes is not counted in one place, so that calls of one
	// moment may go beyond its quota.
	Approximate bool
}

// Run runs the suite. open is called for each test; what it opens it closes with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Instance) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Create", testCreate},
		{"CreateWithBody", testCreateWithBody},
		{"CreateConcurrently", testCreateConcurrently},
		{"Names", testNames},
		{"AppendBytes", testAppendBytes},
		{"AppendJSON", testAppendJSON},
		{"AppendRefused", testAppendRefused},
		{"Producers", testProducers},
		{"ManyProducers", testManyProducers},
		{"Close", testClose},
		{"Sizes", testSizes},
		{"Quota", testQuota},
		{"ReadAnywhere", testReadAnywhere},
		{"ReadLarge", testReadLarge},
		{"AppendConcurrently", testAppendConcurrently},
		{"Delete", testDelete},
		{"Reopen", testReopen},
		{"ContextEnded", testContextEnded},
		{"Fork", testFork},
		{"ForkParting", testForkParting},
		{"ForkRefused", testForkRefused},
		{"ForkRepeated", testForkRepeated},
		{"ForkLives", testForkLives},
		{"ForkCascade", testForkCascade},
		{"ForkExpires", testForkExpires},
		{"ForkAgain", testForkAgain},
		{"ForkDepth", testForkDepth},
		{"ExpiresLongAgo", testExpiresLongAgo},
		{"Sliding", testSliding},
		{"Absolute", testAbsolute},
		{"SweepMany", testSweepMany},
		{"Page", testPage},
		{"PageJSON", testPageJSON},
		{"Follow", testFollow},
		{"FollowGone", testFollowGone},
		{"Output", testOutput},
		{"OutputFence", testOutputFence},
		{"OutputSegments", testOutputSegments},
		{"OutputEnds", testOutputEnds},
		{"OutputExpires", testOutputExpires},
		{"OutputRedriven", testOutputRedriven},
		{"OutputForgotten", testOutputForgotten},
		{"OutputUsage", testOutputUsage},
		{"OutputConcurrently", testOutputConcurrently},
		{"AgainstModel", testAgainstModel},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := open(t)
			test.run(&suite{T: t, Store: in.Store, in: in, ctx: t.Context()})
		})
	}
}

// suite is one test with its store.
type suite struct {
	*testing.T
	Store
	in  Instance
	ctx context.Context
}

const (
	alice = "alice"
	bob   = "bob"
	text  = "text/plain"
	raw   = "application/octet-stream"
	jsons = "application/json"

	// patience is how long something that has to come may take.
	patience = 20 * time.Second
)

func own(path string) stream.Name { return stream.Name{Owner: alice, Path: path} }

// made creates a stream that is not there.
func (s *suite) made(n stream.Name, c stream.Create) stream.Stream {
	s.Helper()
	st, made, err := s.CreateStream(s.ctx, n, c)
	if err != nil || !made {
		s.Fatalf("create %q: made %v, %v", n.Path, made, err)
	}
	return st
}

// append appends to a stream.
func (s *suite) append(n stream.Name, mediaType, body string) stream.Stream {
	s.Helper()
	return s.appended(n, stream.Append{Type: mediaType, Body: []byte(body)}).Stream
}

func (s *suite) appended(n stream.Name, a stream.Append) stream.Appended {
	s.Helper()
	added, err := s.AppendStream(s.ctx, n, a)
	if err != nil {
		s.Fatalf("append to %q: %v", n.Path, err)
	}
	return added
}

func (s *suite) state(n stream.Name) stream.Stream {
	s.Helper()
	st, err := s.StreamState(s.ctx, n, false)
	if err != nil {
		s.Fatalf("state of %q: %v", n.Path, err)
	}
	return st
}

// fails holds that an error is, or wraps, another one.
func (s *suite) fails(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: %v, want %v", what, err, want)
	}
}

// failsAs holds that an error is of a type, and returns it.
func failsAs[E error](s *suite, what string, err error) E {
	s.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		s.Fatalf("%s: %v, want a %T", what, err, e)
	}
	return e
}

// content reads a stream from a position to its end, in pieces of a size.
func (s *suite) content(n stream.Name, from uint64, size int) []byte {
	s.Helper()
	var all []byte
	for {
		p := make([]byte, size)
		read, err := s.ReadStream(s.ctx, n, p, from)
		if err != nil {
			s.Fatalf("read %q from %d: %v", n.Path, from, err)
		}
		all, from = append(all, p[:read]...), from+uint64(read)
		if read < size {
			return all
		}
	}
}

// holds checks all that a stream has, in pieces of some sizes.
func (s *suite) holds(n stream.Name, want string) {
	s.Helper()
	st := s.state(n)
	if st.Tail != uint64(len(want)) {
		s.Errorf("%q has %d bytes, want %d", n.Path, st.Tail, len(want))
	}
	for _, size := range []int{7, 4096, 1 << 20} {
		if size == 7 && len(want) > 1<<10 {
			continue
		}
		if got := s.content(n, 0, size); string(got) != want {
			s.Fatalf("%q read in pieces of %d: %d bytes, want %d: %.80q, want %.80q", n.Path, size, len(got), len(want), got, want)
		}
	}
}

// gone checks that a stream is not there, by an error.
func (s *suite) gone(n stream.Name, want error) {
	s.Helper()
	_, err := s.StreamState(s.ctx, n, false)
	s.fails("state of "+n.Path, err, want)
	_, err = s.StreamState(s.ctx, n, true)
	s.fails("touch of "+n.Path, err, want)
	_, err = s.ReadStream(s.ctx, n, make([]byte, 1), 0)
	s.fails("read of "+n.Path, err, want)
	_, err = s.AppendStream(s.ctx, n, stream.Append{Type: text, Body: []byte("x"), Attempt: 1})
	s.fails("append to "+n.Path, err, want)
	if !n.Output() {
		s.fails("delete of "+n.Path, s.DeleteStream(s.ctx, n), want)
	}
}

// same compares streams, and times as coarsely as any driver keeps them.
func (s *suite) same(what string, got, want stream.Stream) {
	s.Helper()
	if g, w := shown(got), shown(want); g != w {
		s.Errorf("%s:\n%s, want\n%s", what, g, w)
	}
}

func shown(s stream.Stream) string {
	const form = "2006-01-02T15:04:05.000"
	cut := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.UTC().Truncate(time.Millisecond).Format(form)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%q tail %d closed %v tag %s made %s ttl %v expires %s seq %q", s.Type, s.Tail, s.Closed, s.Tag, cut(s.Created),
		s.TTL, cut(s.Expires), s.Seq)
	for _, id := range sortedKeys(s.Producers) {
		p := s.Producers[id]
		fmt.Fprintf(&out, " producer %q %d/%d", id, p.Epoch, p.Seq)
	}
	if s.ClosedBy != nil {
		fmt.Fprintf(&out, " closed by %+v", *s.ClosedBy)
	}
	if s.Fork != nil {
		fmt.Fprintf(&out, " fork %+v", *s.Fork)
	}
	return out.String() + fmt.Sprintf(" forks %d deleted %v segments %v", s.Forks, s.Deleted, s.Segments)
}

// sweep has the store forget what is over.
func (s *suite) sweep() (done int, next time.Time) {
	s.Helper()
	swept, err := s.Sweep(s.ctx, 1000)
	if err != nil {
		s.Fatal(err)
	}
	return swept.Done, swept.Next
}

// reopened goes on with what the store holds after a restart, if the driver knows of such.
func (s *suite) reopened() {
	if s.in.Reopen != nil {
		s.Store = s.in.Reopen()
	}
}

// pattern returns bytes of which every part says where it is.
func pattern(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%07d\n", b.Len())
	}
	return b.Bytes()[:n]
}

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
