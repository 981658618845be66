package bolt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/webhook/dispatch"
)

func submission(id string) lifecycle.Submission {
	return lifecycle.Submission{
		ID: id, Owner: "alice", Route: "images", MaxAttempts: 3,
		Timeout: time.Hour, Retention: time.Hour, Fingerprint: "f-" + id,
		Content: lifecycle.Content{Type: "application/json", Data: []byte(`{"image":"cat.png","width":640}`)},
	}
}

func openBench(b *testing.B) *bolt.Store {
	b.Helper()
	s, err := bolt.Open(filepath.Join(b.TempDir(), "hark.db"), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runParallel runs op b.N times on a number of goroutines and reports the CPU time of
// each, user and system, the garbage collector included.
func runParallel(b *testing.B, writers int, op func(worker, i int)) {
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
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
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

var benchWriters = []int{1, 32, 128}

func BenchmarkCreate(b *testing.B) {
	for _, writers := range benchWriters {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openBench(b)
			ctx := context.Background()
			runParallel(b, writers, func(w, i int) {
				if _, err := s.Create(ctx, submission(fmt.Sprintf("r%012d", i))); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkApply reports progress, each writer on requests of its own.
func BenchmarkApply(b *testing.B) {
	for _, writers := range benchWriters {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openBench(b)
			ctx := context.Background()
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					id := fmt.Sprintf("r%012d", w)
					if _, err := s.Create(ctx, submission(id)); err != nil {
						b.Error(err)
					}
					if _, err := s.Apply(ctx, lifecycle.Named(id), lifecycle.Start{}); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			step := "resizing the image"
			runParallel(b, writers, func(w, i int) {
				percent := float64(i % 100)
				_, err := s.Apply(ctx, lifecycle.Named(fmt.Sprintf("r%012d", w)), lifecycle.Progress{Step: &step, Percent: &percent})
				if err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkDeliver creates requests of an owner who has an endpoint, and claims and settles what is
// to be delivered.
func BenchmarkDeliver(b *testing.B) {
	for _, writers := range benchWriters {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openBench(b)
			ctx := context.Background()
			if _, err := s.CreateEndpoint(ctx, dispatch.Endpoint{ID: "e", Owner: "alice", Status: dispatch.Active, Concurrency: 1000}); err != nil {
				b.Fatal(err)
			}
			runParallel(b, writers, func(_, i int) {
				if _, err := s.Create(ctx, submission(fmt.Sprintf("r%012d", i))); err != nil {
					b.Error(err)
				}
				claims, _, err := s.Claim(ctx, 1, time.Minute)
				if err != nil {
					b.Error(err)
				}
				for _, c := range claims {
					if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, ended := range []bool{false, true} {
		b.Run(fmt.Sprintf("ended=%v", ended), func(b *testing.B) {
			s := openBench(b)
			ctx := context.Background()
			if _, err := s.Create(ctx, submission("r")); err != nil {
				b.Fatal(err)
			}
			if ended {
				if _, err := s.Apply(ctx, lifecycle.Named("r"), lifecycle.Cancel{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Get(ctx, lifecycle.Named("r")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkRead100 reads 100 events of a request, as the hub gets them.
func BenchmarkRead100(b *testing.B) {
	s := openBench(b)
	ctx := context.Background()
	if _, err := s.Create(ctx, submission("r")); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Apply(ctx, lifecycle.Named("r"), lifecycle.Start{}); err != nil {
		b.Fatal(err)
	}
	for range 100 {
		if _, err := s.Apply(ctx, lifecycle.Named("r"), lifecycle.Progress{}); err != nil {
			b.Fatal(err)
		}
	}
	source := wire.Source(s)
	b.ReportAllocs()
	for b.Loop() {
		h, err := source.Read(ctx, "request:r", 2, 100)
		if err != nil || len(h.Messages) != 100 {
			b.Fatal(len(h.Messages), err)
		}
	}
}

// BenchmarkOpen opens a store with a full log, as it is left by a crash.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "hark.db")
	s, err := bolt.Open(path, bolt.Options{NoSync: true, CheckpointAfter: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 6000 {
		if _, err := s.Create(context.Background(), submission(fmt.Sprintf("r%012d", i))); err != nil {
			b.Fatal(err)
		}
	}
	left := make(map[string][]byte)
	for _, suffix := range []string{"", "-wal"} {
		if left[suffix], err = os.ReadFile(path + suffix); err != nil {
			b.Fatal(err)
		}
	}
	again := filepath.Join(dir, "again.db")
	for b.Loop() {
		b.StopTimer()
		for suffix, content := range left {
			if err := os.WriteFile(again+suffix, content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		s, err := bolt.Open(again, bolt.Options{NoSync: true, CheckpointAfter: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(len(left["-wal"]))/(1<<20), "MB")
}
