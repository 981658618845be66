package memory_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/hark-push/hark/broker"
	"github.com/hark-push/hark/broker/memory"
)

// TestPlaceIsHeld: a delivery takes its place until it is settled and its handle
// has returned, whichever comes later, and then frees it once.
func TestPlaceIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		ctx, cancel := context.WithCancel(t.Context())
		publish(t, b, in("settled later", 0, 0), in("settled first", 0, 0), in("last", 0, 0), in("waits", 0, 0))
		var given []broker.Delivery
		release := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- b.Consume(ctx, []string{"a"}, 1, func(d broker.Delivery) {
				given = append(given, d)
				if len(given) > 1 {
					<-release
				}
			})
		}()
		expectGiven := func(n int) {
			t.Helper()
			synctest.Wait()
			if len(given) != n {
				t.Fatalf("%d deliveries, want %d", len(given), n)
			}
		}
		expectGiven(1) // its handle has returned
		given[0].Ack()
		expectGiven(2)
		given[1].Ack() // its handle runs
		expectGiven(2)
		release <- struct{}{}
		expectGiven(3)

		cancel() // Consume ends when the handle that runs has returned, not before
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("consume ended while a handle ran: %v", err)
		default:
		}
		given[2].Ack()
		close(release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		expectGiven(3)
		if n := b.Waiting(); n != 1 {
			t.Errorf("%d wait, want 1", n)
		}
	})
}

// TestConsumersComeAndGo: what one that has gone held reaches the next.
func TestConsumersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New([]string{"a"}, memory.Options{})
		defer b.Close()
		publish(t, b, in("x", 0, 0))
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			var got []string
			if err := b.Consume(ctx, []string{"a", "a"}, 3, func(d broker.Delivery) {
				got = append(got, d.Job().ID)
				cancel()
			}); err != nil {
				t.Error(err)
			}
			if !slices.Equal(got, []string{"x"}) {
				t.Errorf("%v", got)
			}
		}
	})
}
