package bolt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// resultOf returns a result in JSON of about so many bytes.
func resultOf(size int) []byte {
	value := []byte(`[`)
	for i := 0; len(value) < size-1; i++ {
		value = fmt.Appendf(value, `{"n":%d,"word":"some text"},`, i)
	}
	return append(bytes.TrimSuffix(value, []byte(",")), ']')
}

var resultSizes = []int{200, 500, 1 << 10, 2 << 10, 10 << 10, 15 << 10}

// BenchmarkResult lets requests succeed with results in JSON, and reports what each takes in the
// log and in the file.
func BenchmarkResult(b *testing.B) {
	for _, size := range resultSizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "hark.db")
			s, err := Open(path, Options{NoSync: true, CheckpointAfter: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			value := resultOf(size)
			const n = 20 // fit into the log
			run := func(from, to int) {
				for i := from; i < to; i++ {
					id := fmt.Sprintf("%d-%012d", size, i)
					sub := request(id)
					sub.Content = lifecycle.Content{Type: "application/json", Data: value}
					if _, err := s.Create(context.Background(), sub); err != nil {
						b.Fatal(err)
					}
					for _, c := range []lifecycle.Change{
						lifecycle.Start{}, lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: value}},
					} {
						if _, err := s.Apply(context.Background(), lifecycle.Named(id), c); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			run(0, n)
			s.journal.mu.RLock()
			logged := s.journal.logged
			s.journal.mu.RUnlock()
			i := n
			for b.Loop() {
				run(i, i+1)
				i++
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			if _, _, err := Compact(path, nil); err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(logged)/n, "log-B/op")
			b.ReportMetric(float64(info.Size())/float64(i), "file-B/op")
		})
	}
}

// BenchmarkList reads lists of 100 requests with results in JSON, of each the record, and of each
// the event that tells of the result.
func BenchmarkList(b *testing.B) {
	for _, size := range resultSizes {
		s, err := Open(filepath.Join(b.TempDir(), "hark.db"), Options{NoSync: true})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		value := resultOf(size)
		for i := range 400 {
			id := fmt.Sprintf("r%012d", i)
			if _, err := s.Create(b.Context(), request(id)); err != nil {
				b.Fatal(err)
			}
			for _, c := range []lifecycle.Change{
				lifecycle.Start{}, lifecycle.Succeed{Result: &lifecycle.Content{Type: "application/json", Data: value}},
			} {
				if _, err := s.Apply(b.Context(), lifecycle.Named(id), c); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(fmt.Sprintf("list/size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				page, err := s.List(b.Context(), lifecycle.Query{Owner: "alice", Limit: 100})
				if err != nil || len(page.Requests) != 100 || len(page.Requests[0].Result.Value) != len(value) {
					b.Fatal(len(page.Requests), err)
				}
			}
		})
		b.Run(fmt.Sprintf("get/size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), lifecycle.Named("r000000000200")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("event/size=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if h, err := s.Read(b.Context(), "request:r000000000200", 2, 10); err != nil || len(h.Messages) != 1 {
					b.Fatal(len(h.Messages), err)
				}
			}
		})
	}
}
