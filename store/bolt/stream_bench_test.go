package bolt_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/stream"
)

// BenchmarkStreamAppend appends 20 bytes, each writer to a stream of its own.
func BenchmarkStreamAppend(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openBench(b)
			ctx := context.Background()
			names := make([]stream.Name, writers)
			for w := range names {
				names[w] = stream.Name{Owner: "alice", Path: fmt.Sprint("s", w)}
				if _, _, err := s.CreateStream(ctx, names[w], stream.Create{Type: "text/plain"}); err != nil {
					b.Fatal(err)
				}
			}
			chunk := []byte("twenty bytes of text")
			runParallel(b, writers, func(w, _ int) {
				if _, err := s.AppendStream(ctx, names[w], stream.Append{Type: "text/plain", Body: chunk}); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkStreamRead reads a closed stream of 64 MiB, which came in appends of a size, in pieces of
// 64 KiB. It also says how large the file is beside the bytes.
func BenchmarkStreamRead(b *testing.B) {
	const size = 64 << 20
	for _, chunk := range []int{200, 64 << 10} {
		b.Run(fmt.Sprintf("chunk=%d", chunk), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "hark.db")
			s, err := bolt.Open(path, bolt.Options{NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			ctx := context.Background()
			n := stream.Name{Owner: "alice", Path: "a"}
			if _, _, err := s.CreateStream(ctx, n, stream.Create{}); err != nil {
				b.Fatal(err)
			}
			body := bytes.Repeat([]byte("x"), chunk)
			for at := 0; at < size; {
				done := make(chan error)
				for range 256 {
					go func() {
						_, err := s.AppendStream(ctx, n, stream.Append{Type: stream.DefaultType, Body: body})
						done <- err
					}()
				}
				for range 256 {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
					at += chunk
				}
			}
			if _, err := s.AppendStream(ctx, n, stream.Append{Close: true}); err != nil {
				b.Fatal(err)
			}
			p := make([]byte, 64<<10)
			b.SetBytes(int64(len(p)))
			from := uint64(0)
			for b.Loop() {
				read, err := s.ReadStream(ctx, n, p, from)
				if err != nil {
					b.Fatal(err)
				}
				if from += uint64(read); read < len(p) {
					from = 0
				}
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/size, "file/bytes")
		})
	}
}
