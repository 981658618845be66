package redis_test

import (
	"testing"
	"time"

	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestSessions: all processes know the same session of a worker as the newest, and hear of it.
func TestSessions(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	a, b := open(t, server.URL, redis.Options{Partitions: 4}), open(t, server.URL, redis.Options{})
	heard := make(chan int64, 100)
	defer b.OnEnter(func(worker string, newest int64) {
		if worker != "me\x00w" {
			t.Errorf("heard of %q", worker)
		}
		heard <- newest
	})()
	enter := func(s *redis.Store, session string) (number, newest int64) {
		t.Helper()
		number, newest, err := s.Enter(t.Context(), "me\x00w", session)
		if err != nil {
			t.Fatal(err)
		}
		return number, newest
	}
	first, newest := enter(a, "s1")
	if newest != first || first == 0 {
		t.Errorf("the first is %d, the newest %d", first, newest)
	}
	second, newest := enter(b, "s2")
	if newest != second || second <= first {
		t.Errorf("the second is %d behind %d, the newest %d", second, first, newest)
	}
	if number, newest := enter(b, "s1"); number != first || newest != second {
		t.Errorf("the first is %d, was %d; the newest is %d, was %d", number, first, newest, second)
	}
	if number, newest := enter(a, "s2"); number != second || newest != second {
		t.Errorf("the second is %d, was %d; the newest is %d", number, second, newest)
	}
	for _, want := range []int64{first, second} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard of %d, want %d", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was heard")
		}
	}

	for n := range 40 {
		enter(a, string(rune('a'+n)))
	}
	keys := admin.Keys(t.Context(), "hark:*worker:*").Val()
	if len(keys) != 1 {
		t.Fatalf("keys %q", keys)
	}
	if n, left := admin.ZCard(t.Context(), keys[0]).Val(), admin.PTTL(t.Context(), keys[0]).Val(); n != 16 || left <= 0 {
		t.Errorf("%d are kept for %v", n, left)
	}
	if err := admin.Del(t.Context(), keys[0]).Err(); err != nil {
		t.Fatal(err)
	}
	if again, _ := enter(a, "s1"); again <= second {
		t.Errorf("numbers begin anew with %d, behind %d", again, second)
	}
}
