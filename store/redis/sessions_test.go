package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

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
		case <-time.After(3 * time.Minute):
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
	if left := admin.PTTL(t.Context(), strings.Replace(keys[0], "worker:me\x00w", "workers:me", 1)).Val(); left <= 0 {
		t.Errorf("the workers of their owner are kept for %v", left)
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

// TestWorkersAreBounded: of an owner that makes up a name for each call so many are known, and the
// one is forgotten that has not called for longest.
func TestWorkersAreBounded(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 1})
	enter := func(worker string) int64 {
		t.Helper()
		number, _, err := s.Enter(t.Context(), worker, "a")
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	oldest, first, others := enter("me\x00oldest"), enter("me\x00first"), enter("else\x00w")
	named := admin.Keys(t.Context(), "*workers:me").Val()
	if len(named) != 1 {
		t.Fatalf("%q", named)
	}
	key := func(worker string) string { return strings.Replace(named[0], "workers:me", "worker:me\x00"+worker, 1) }
	hoursAgo := func(hours float64) float64 { return float64(time.Now().UnixMicro()) - hours*3.6e9 }
	many := []goredis.Z{{Score: hoursAgo(23), Member: "me\x00oldest"}, {Score: hoursAgo(25), Member: "me\x00gone"}}
	for n := range 9997 {
		many = append(many, goredis.Z{Score: hoursAgo(1), Member: fmt.Sprint("me\x00", n)})
	}
	if err := admin.ZAdd(t.Context(), named[0], many...).Err(); err != nil {
		t.Fatal(err)
	}
	enter("me\x00more") // in the place of the one that has expired
	if n := admin.Exists(t.Context(), key("oldest"), key("first"), key("more")).Val(); n != 3 {
		t.Errorf("%d of 3 are known", n)
	}
	enter("me\x00evenmore")
	if n := admin.ZCard(t.Context(), named[0]).Val(); n != 10_000 {
		t.Errorf("%d are known", n)
	}
	if n := admin.Exists(t.Context(), key("oldest")).Val(); n != 0 {
		t.Error("the one that has not called for longest is known")
	}
	if enter("me\x00first") != first || enter("else\x00w") != others {
		t.Error("others were forgotten")
	}
	if again := enter("me\x00oldest"); again <= oldest {
		t.Errorf("it has the number %d, had %d", again, oldest)
	}
}
