package redis_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

// ownCPU is the CPU time of this process, user and system.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU is that of a server, from /proc, in steps of 10 ms.
func serverCPU(b *testing.B, s *servertest.Server) time.Duration {
	b.Helper()
	info, err := client(b, s).Info(context.Background(), "server").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	pid, _, _ := strings.Cut(rest, "\r\n")
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		b.Skip(err)
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	columns := strings.Fields(fields)
	user, _ := strconv.Atoi(columns[11])
	system, _ := strconv.Atoi(columns[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// spread runs op b.N times on a number of goroutines and reports the CPU time of
// each on both sides.
func spread(b *testing.B, s *servertest.Server, callers int, op func(caller, i int)) {
	b.ReportAllocs()
	b.ResetTimer()
	own, servers := ownCPU(), serverCPU(b, s)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				op(w, i)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((ownCPU()-own).Microseconds())/float64(b.N), "client-µs/op")
	b.ReportMetric(float64((serverCPU(b, s)-servers).Microseconds())/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

var benchCallers = []int{1, 32, 128}

func BenchmarkCreate(b *testing.B) {
	for _, callers := range benchCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			server := servertest.Redis(b)
			s := open(b, server.URL, redis.Options{})
			ctx := context.Background()
			spread(b, server, callers, func(w, i int) {
				if _, err := s.Create(ctx, submission(fmt.Sprintf("r%012d", i))); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkApply reports progress, each caller on a request of its own.
func BenchmarkApply(b *testing.B) {
	for _, callers := range benchCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			server := servertest.Redis(b)
			s := open(b, server.URL, redis.Options{})
			ctx := context.Background()
			for w := range callers {
				id := fmt.Sprintf("r%012d", w)
				if _, err := s.Create(ctx, submission(id)); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Start{}); err != nil {
					b.Fatal(err)
				}
			}
			step := "resizing the image"
			spread(b, server, callers, func(w, i int) {
				percent := float64(i % 100)
				if _, err := s.Apply(ctx, lifecycle.Named(fmt.Sprintf("r%012d", w)), lifecycle.Progress{Step: &step, Percent: &percent}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkLifecycle takes requests from their creation to their success, each caller those of a
// topic that is followed. An op is a request.
func BenchmarkLifecycle(b *testing.B) {
	for _, callers := range benchCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			server := servertest.Redis(b, "--auto-aof-rewrite-min-size", "4gb")
			s := open(b, server.URL, redis.Options{})
			ctx := context.Background()
			source := wire.Source(s)
			source.Listen(func(string, hub.Message) {})
			topics := make([]string, callers)
			for w := range topics {
				topics[w] = fmt.Sprint("producer", w)
				if err := source.Watch(ctx, lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: "alice", Name: topics[w]}.Key()); err != nil {
					b.Fatal(err)
				}
			}
			result := lifecycle.Content{Type: "application/json", Data: submission("r").Content.Data}
			spread(b, server, callers, func(w, i int) {
				sub := submission(fmt.Sprintf("r%012d", i))
				sub.Topic = topics[w]
				_, err := s.Create(ctx, sub)
				if err == nil {
					_, _, err = s.Begin(ctx, lifecycle.Named(sub.ID), lifecycle.Start{})
				}
				if err == nil {
					_, err = s.Apply(ctx, lifecycle.Named(sub.ID), lifecycle.Succeed{Result: &result})
				}
				if err != nil {
					b.Error(err)
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	server := servertest.Redis(b)
	s := open(b, server.URL, redis.Options{})
	ctx := context.Background()
	if _, err := s.Create(ctx, submission("r")); err != nil {
		b.Fatal(err)
	}
	spread(b, server, 32, func(w, i int) {
		if _, err := s.Get(ctx, lifecycle.Named("r")); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkDeliver claims deliveries and settles them, each caller as a dispatcher of its own that
// claims up to 16 at a time. An op is one delivery.
func BenchmarkDeliver(b *testing.B) {
	for _, callers := range benchCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			server := servertest.Redis(b)
			s := open(b, server.URL, redis.Options{})
			ctx := context.Background()
			const endpoints = 32
			body := make([]byte, 1024)
			// So many successes that as many may be claimed as all callers claim, and enough for
			// those that claimed some when it is over.
			trust, spare := callers*16/endpoints+1, callers*16
			for i := range endpoints {
				endpoint(b, s, dispatch.Endpoint{ID: fmt.Sprint("e", i), Concurrency: 1000})
				var messages []dispatch.Message
				for j := range trust + (b.N+spare)/endpoints + 1 {
					id := fmt.Sprintf("r%d-%d_1", i, j)
					messages = append(messages, dispatch.Message{ID: id, Lane: id, Type: "request.succeeded", Body: fmt.Append(body[:1000:1000], id)})
				}
				if _, err := s.Enqueue(ctx, "alice", fmt.Sprint("e", i), messages); err != nil {
					b.Fatal(err)
				}
			}
			for settled := 0; settled < trust*endpoints; {
				claims, _, err := s.Claim(ctx, trust*endpoints-settled, time.Minute)
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range claims {
					if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
						b.Fatal(err)
					}
				}
				settled += len(claims)
			}
			claimed := make([][]dispatch.Claim, callers)
			spread(b, server, callers, func(w, _ int) {
				for len(claimed[w]) == 0 {
					var err error
					if claimed[w], _, err = s.Claim(ctx, 16, time.Minute); err != nil {
						b.Error(err)
						return
					}
				}
				c := claimed[w][0]
				claimed[w] = claimed[w][1:]
				if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}
