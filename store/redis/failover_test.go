package redis_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestReplicaWithoutTheNewestWritesTakesOver: offsets that followers have seen are given
// to other events, and each follower is told, whether it had more, as many or fewer
// events than there are now.
func TestReplicaWithoutTheNewestWritesTakesOver(t *testing.T) {
	for _, after := range []struct {
		name   string
		events int // that the replica gives out before its followers are back
	}{{"fewer", 1}, {"as many", 2}, {"more", 3}} {
		t.Run(after.name, func(t *testing.T) {
			master, replica := servertest.Redis(t), servertest.Redis(t)
			proxy := servertest.Proxy(t, master.Addr)
			s := open(t, "redis://"+proxy.Addr, redis.Options{Timeout: 2 * time.Second})
			h := newHub(t, s)
			create(t, s, "r")
			apply(t, s, "r", lifecycle.Start{})
			request := lifecycle.Channel{Kind: lifecycle.RequestChannel, Name: "r"}
			live := follow(t, h, request, nil)
			live.until(t, 1, 2)

			promote := client(t, replica)
			host, port, _ := net.SplitHostPort(master.Addr)
			ctx := context.Background()
			if err := promote.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
				t.Fatal(err)
			}
			first := client(t, master)
			if err := first.Set(ctx, "replicated", 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
			within(t, "replication", func() bool { return promote.Get(ctx, "replicated").Val() == "1" })
			if err := promote.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			apply(t, s, "r", lifecycle.Progress{Step: new("lost")}) // 3
			apply(t, s, "r", lifecycle.Progress{Step: new("lost")}) // 4
			live.until(t, 1, 4)
			late := follow(t, h, request, nil) // has read all by itself
			late.until(t, 1, 4)

			other := open(t, replica.URL, redis.Options{})
			for range after.events {
				apply(t, other, "r", lifecycle.Progress{Step: new("kept")})
			}
			proxy.Retarget(replica.Addr)
			for name, f := range map[string]*follower{"live": live, "late": late} {
				within(t, name+" follower is told", func() bool {
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.resets == 1
				})
			}
			apply(t, other, "r", lifecycle.Succeed{})
			end := uint64(2 + after.events + 1)
			for _, f := range []*follower{live, late} {
				within(t, "end", func() bool {
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.offsets[len(f.offsets)-1] == end && f.resets == 1
				})
			}
		})
	}
}

func create(t testing.TB, s *redis.Store, id string) {
	t.Helper()
	if _, err := s.Create(t.Context(), submission(id)); err != nil {
		t.Fatal(err)
	}
}

func apply(t testing.TB, s *redis.Store, id string, c lifecycle.Change) {
	t.Helper()
	if _, err := s.Apply(t.Context(), lifecycle.Named(id), c); err != nil {
		t.Fatal(err)
	}
}
