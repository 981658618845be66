package bolt

import (
	"bytes"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hark-push/hark/store/bolt/wal"
)

// FuzzPages: whatever a file holds, going through its pages ends, with an error or each entry
// within the file.
func FuzzPages(f *testing.F) {
	path := filepath.Join(f.TempDir(), "hark.db")
	s, err := Open(path, Options{NoSync: true, CheckpointAfter: time.Hour, MaxSize: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := s.Create(f.Context(), request(id)); err != nil {
			f.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content[:min(len(content), 64<<10)])
	f.Add(content)
	f.Fuzz(func(_ *testing.T, content []byte) {
		content = bytes.Clone(content)
		// The sums of the first pages are made right, so that what is behind them is looked at.
		for _, at := range []int{0, 4 << 10} {
			if len(content) >= at+pageHeader+metaSize {
				meta := content[at+pageHeader:][:metaSize]
				h := fnv.New64a()
				_, _ = h.Write(meta[:metaSize-8])
				order.PutUint64(meta[metaSize-8:], h.Sum64())
			}
		}
		for _, skip := range []func(error){nil, func(error) {}} {
			p := &pages{file: bytes.NewReader(content), size: int64(len(content)), skip: skip}
			p.leaf = func(bucket, key, value []byte) error {
				_, _ = strconv.Atoi(string(bucket) + string(key) + string(value))
				return nil
			}
			_ = p.walk()
		}
		_ = wal.DecodeHeader(content)
	})
}
