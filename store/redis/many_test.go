package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestTogether: steps of many callers that come at the same time are made by few scripts, and what
// is wrong with one of them is not the others' matter.
func TestTogether(t *testing.T) {
	server := servertest.Redis(t)
	s, admin := open(t, server.URL, redis.Options{}), client(t, server)
	const many = 40
	id := func(i int) string { return fmt.Sprint("r", i) }
	for i := range many {
		create(t, s, id(i))
		if _, err := s.Apply(t.Context(), lifecycle.Named(id(i)), lifecycle.Start{}); err != nil {
			t.Fatal(err)
		}
	}
	damaged := map[string]bool{id(0): true, id(7): true, id(many - 1): true}
	for id := range damaged {
		key := "hark:{p0}:r:" + id
		if err := errors.Join(admin.Del(t.Context(), key).Err(), admin.RPush(t.Context(), key, "x").Err()); err != nil {
			t.Fatal(err)
		}
	}
	scripts, _ := executed(t, server, func() {
		// All of them wait while the server is kept busy.
		if err := admin.Do(t.Context(), "CLIENT", "PAUSE", "300", "WRITE").Err(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				percent := float64(i)
				r, err := s.Apply(t.Context(), lifecycle.Named(id(i)), lifecycle.Progress{Percent: &percent})
				switch {
				case damaged[id(i)]:
					if !errors.Is(err, lifecycle.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGTYPE") {
						t.Errorf("%s is damaged: %v", id(i), err)
					}
				case err != nil || r.Percent == nil || *r.Percent != percent:
					t.Errorf("%s: %+v, %v", id(i), r.Percent, err)
				}
			})
		}
		wg.Wait()
	})
	if scripts > many/4 {
		t.Errorf("%d scripts for %d steps", scripts, many)
	}
	for i := range many {
		if !damaged[id(i)] {
			agree(t, s, id(i))
		}
	}
	feed, err := s.Read(t.Context(), aliceFeed.Key(), 0, 1000)
	if want := 3*many - len(damaged); err != nil || feed.Top != uint64(want) || len(feed.Messages) != want {
		t.Errorf("feed: %d messages up to %d, want %d; %v", len(feed.Messages), feed.Top, want, err)
	}
	contiguous(t, feed)
}
