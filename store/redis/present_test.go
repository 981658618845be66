package redis_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
)

// TestPresent: processes see each other while they say that they are there, and nothing stays of
// those that have left or do not say it any more.
func TestPresent(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	a, b := open(t, server.URL, redis.Options{Partitions: 4}), open(t, server.URL, redis.Options{})
	names := func() []string {
		t.Helper()
		all, err := b.Present(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		slices.Sort(names)
		return names
	}
	attend := func(p lifecycle.Process, d time.Duration) {
		t.Helper()
		if err := a.Attend(t.Context(), p, d); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); len(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	attend(lifecycle.Process{Name: "one", Kind: "worker", Minute: map[string]lifecycle.Steps{"r": {Started: 3}}}, time.Hour)
	attend(lifecycle.Process{Name: "two"}, time.Hour)
	attend(lifecycle.Process{Name: "brief"}, time.Millisecond)
	for end := time.Now().Add(3 * time.Minute); !slices.Equal(names(), []string{"one", "two"}); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v are there", names())
		}
	}
	attend(lifecycle.Process{Name: "one", Kind: "worker", Minute: map[string]lifecycle.Steps{"r": {Started: 4}}}, time.Hour)
	all, err := b.Present(t.Context())
	if i := slices.IndexFunc(all, func(p lifecycle.Process) bool { return p.Name == "one" }); err != nil || i < 0 || all[i].Minute["r"].Started != 4 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, name := range []string{"one", "two"} {
		if err := b.Leave(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(); len(got) != 0 {
		t.Errorf("at the end: %v", got)
	}
	if left := admin.Keys(t.Context(), "*present*").Val(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}
