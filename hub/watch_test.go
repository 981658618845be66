package hub_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/hark-push/hark/hub"
)

// slowWatch is a source whose Watch waits to be let through, and that counts.
type slowWatch struct {
	*memorySource
	entered chan struct{}
	through chan struct{}

	mu      sync.Mutex
	watched map[string]int
}

func (s *slowWatch) Watch(_ context.Context, channel string) error {
	s.entered <- struct{}{}
	<-s.through
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[channel]++
	return nil
}

func (s *slowWatch) Unwatch(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[channel]--
}

// TestClientThatLeavesEarlyLeavesNoWatch: a client that goes while its channel is being
// watched for the first time does not leave the source watching for nobody.
func TestClientThatLeavesEarlyLeavesNoWatch(t *testing.T) {
	source := &slowWatch{memorySource: newMemorySource(), entered: make(chan struct{}), through: make(chan struct{}), watched: make(map[string]int)}
	h := hub.New(source, hub.Options{})
	defer h.Close()
	server, client := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() { h.ServeStream(server, resolve("request-a"), hub.StreamOptions{}) })
	<-source.entered
	_ = client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Drain(ctx, 0) // closes the connection
	eventually(t, func() bool { return h.Stats().Streams == 0 })
	close(source.through)
	serving.Wait()
	eventually(t, func() bool {
		source.mu.Lock()
		defer source.mu.Unlock()
		return source.watched["request-a"] == 0
	})
}
