package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

// TestClaimWithoutOnePartition: one that does not answer does not keep the others waiting.
func TestClaimWithoutOnePartition(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 7})
	endpoint(t, s, dispatch.Endpoint{ID: "e"})
	if _, err := s.Enqueue(t.Context(), "alice", "e", []dispatch.Message{{ID: "m", Lane: "l", Body: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	for i := range 7 { // all but Alice's
		key := fmt.Sprintf("hark:{p%d}:w:due", i)
		if admin.Exists(t.Context(), key).Val() == 0 {
			if err := admin.LPush(t.Context(), key, "of a wrong type").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	claims, next, err := s.Claim(t.Context(), 10, time.Minute)
	if err != nil || len(claims) != 1 || next > 5*time.Second {
		t.Fatal(len(claims), next, err)
	}
	if claims, next, err := s.Claim(t.Context(), 10, time.Minute); err != nil || len(claims) != 0 || next > 5*time.Second {
		t.Error(len(claims), next, err)
	}
	other := open(t, server.URL, redis.Options{Prefix: "other", Partitions: 3})
	for i := range 3 {
		if err := admin.LPush(t.Context(), fmt.Sprintf("other:{p%d}:w:due", i), "of a wrong type").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, _, err := other.Claim(t.Context(), 10, time.Minute); !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("none answers: %v", err)
		}
	}
}

// TestWebhooksInFullServer: a server without memory refuses what would need some whole, and
// lets deliveries be forgotten.
func TestWebhooksInFullServer(t *testing.T) {
	server := servertest.Redis(t)
	s := open(t, server.URL, redis.Options{WebhookRetention: time.Hour})
	endpoint(t, s, dispatch.Endpoint{ID: "e"})
	enqueue := func(id string) error {
		_, err := s.Enqueue(t.Context(), "alice", "e", []dispatch.Message{{ID: id, Lane: id, Body: []byte("{}")}})
		return err
	}
	if err := errors.Join(enqueue("a"), enqueue("b")); err != nil {
		t.Fatal(err)
	}
	claims, _, err := s.Claim(t.Context(), 10, time.Minute)
	if err != nil || len(claims) != 1 {
		t.Fatal(len(claims), err)
	}
	full := func(maxmemory string) {
		t.Helper()
		if err := client(t, server).ConfigSet(t.Context(), "maxmemory", maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() error {
		_, err := s.Settle(t.Context(), claims[0], dispatch.Outcome{State: dispatch.Delivered})
		return err
	}
	full("1")
	for name, err := range map[string]error{"enqueue": enqueue("c"), "settle": settle(), "hold": s.Hold(t.Context(), "alice", "e", time.Hour)} {
		if !errors.Is(err, lifecycle.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, h, err := s.Endpoint(t.Context(), "alice", "e")
	if err != nil || h.Waiting != 1 || h.Sending != 1 || h.Successes != 0 || !h.HeldUntil.IsZero() {
		t.Errorf("%+v, %v", h, err)
	}
	full("0")
	if err := settle(); err != nil {
		t.Error(err)
	}
	s.Advance(2 * time.Hour)
	full("1")
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Error(err)
	}
	if left := delivered(t, s, "e", ""); !slices.Equal(left, []string{"b"}) {
		t.Errorf("%v", left)
	}
	if err := s.DeleteEndpoint(t.Context(), "alice", "e"); err != nil {
		t.Error(err)
	}
}

// TestLostAnswersOfWebhooks: connections break while deliveries are claimed and settled; each is
// delivered, and counted once.
func TestLostAnswersOfWebhooks(t *testing.T) {
	server := servertest.Redis(t)
	proxy := servertest.Proxy(t, server.Addr)
	s, direct := open(t, "redis://"+proxy.Addr+"?pool_size=4", redis.Options{}), open(t, server.URL, redis.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const messages = 200
	var done atomic.Int64
	retry := func(f func() error) {
		if err := insist(ctx, f); err != nil {
			t.Error(err)
		}
		done.Add(1)
	}
	stop := cutting(proxy, &done)
	endpoint(t, direct, dispatch.Endpoint{ID: "e", Concurrency: 10})
	for i := range messages {
		retry(func() error {
			_, err := s.Enqueue(ctx, "alice", "e", []dispatch.Message{{ID: fmt.Sprint("m", i), Lane: fmt.Sprint("l", i), Body: []byte("{}")}})
			return err
		})
	}
	for len(delivered(t, direct, "e", dispatch.Delivered)) < messages && ctx.Err() == nil {
		var claims []dispatch.Claim
		retry(func() (err error) { claims, _, err = s.Claim(ctx, 10, time.Minute); return err })
		for _, c := range claims {
			retry(func() error {
				_, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered})
				if errors.Is(err, dispatch.ErrNotClaimed) {
					// This one was stored, and the client gave up asking.
					return nil
				}
				return err
			})
		}
		if len(claims) == 0 { // those whose answer was lost are lent still
			s.Advance(time.Minute)
			direct.Advance(time.Minute)
		}
	}
	stop()
	if _, h, err := direct.Endpoint(ctx, "alice", "e"); err != nil || h.Successes != messages || h.Waiting != 0 || h.Sending != 0 {
		t.Errorf("%+v, %v", h, err)
	}
}
