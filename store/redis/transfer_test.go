package redis_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/storetest"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/store/transfertest"
	"github.com/hark-push/hark/store/webhooktest"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

type anyStore interface {
	storetest.Store
	stream.Store
	webhooktest.Store
	transfer.Source
}

// furnish puts something of everything into a store.
func furnish(t *testing.T, s anyStore) {
	t.Helper()
	ctx := t.Context()
	for i, id := range []string{"one", "two"} {
		if _, err := s.CreateEndpoint(ctx, dispatch.Endpoint{
			ID: id, Owner: "alice", URL: "https://example.com/" + id, Status: dispatch.Active, Concurrency: 1 + i, Timeout: time.Second,
			Secrets: []dispatch.Secret{{Value: []byte("whsec_" + id)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutIfAbsent(ctx, "tickets", []byte("the key of tickets")); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		id := fmt.Sprintf("r%02d", i)
		sub := lifecycle.Submission{
			ID: id, Owner: []string{"alice", "bob"}[i%2], Topic: []string{"", "cats", "dogs"}[i%3], Route: "images", MaxAttempts: 3,
			Timeout: time.Hour, Retention: time.Hour, Fingerprint: "f" + id, Priority: i % 4,
			Content: lifecycle.Content{Type: "text/plain", Data: []byte(strings.Repeat(id, 1+i*1000))},
		}
		if i%4 == 0 {
			sub.Key, sub.KeyLock = "key-"+id, time.Minute
		}
		if _, err := s.Create(ctx, sub); err != nil {
			t.Fatal(err)
		}
		changes := []lifecycle.Change{
			lifecycle.Start{}, lifecycle.Progress{Percent: new(5.0)}, lifecycle.Succeed{Result: &lifecycle.Content{Data: []byte("result of " + id)}},
		}
		for _, c := range changes[:min(i%5, 3)] {
			if _, err := s.Apply(ctx, lifecycle.Named(id), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	furnishStreams(t, s)
	claims, _, err := s.Claim(ctx, 4, time.Minute)
	if err != nil || len(claims) == 0 {
		t.Fatal(claims, err)
	}
	for _, c := range claims {
		if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered, Attempt: dispatch.Attempt{Status: 204}}); err != nil {
			t.Fatal(err)
		}
	}
}

// furnishStreams puts streams of all kinds into a store: outputs of requests that run and that have
// ended, forks of forks, whatever the order of their names, and some that are kept for those only.
func furnishStreams(t *testing.T, s anyStore) {
	t.Helper()
	appended := func(n stream.Name, a stream.Append) {
		t.Helper()
		if _, err := s.AppendStream(t.Context(), n, a); err != nil {
			t.Fatalf("%s: %v", n.Path, err)
		}
	}
	for i := range 20 {
		if i%5 == 1 || i%5 == 2 { // it runs
			out := lifecycle.OutputName(lifecycle.Ref{ID: fmt.Sprintf("r%02d", i)})
			appended(out, stream.Append{Type: plain, Body: []byte(strings.Repeat("said ", 1+i*2000)), Producer: &stream.Stamp{ID: "p", Epoch: 2}})
			appended(out, stream.Append{Type: plain, Body: []byte("more")})
		}
	}
	if _, err := s.Apply(t.Context(), lifecycle.Named("r07"), lifecycle.Fail{Failure: lifecycle.Failure{Code: "no"}}); err != nil {
		t.Fatal(err)
	}
	root, middle, leaf := ownStream("m/root"), ownStream("z/middle"), ownStream("a/leaf")
	for _, c := range []struct {
		stream.Name
		stream.Create
	}{
		{ownStream("json"), stream.Create{Type: "application/json", Body: []byte("[1, 2, {}]"), TTL: 48 * time.Hour}},
		{stream.Name{Owner: "bob", Path: "empty"}, stream.Create{Closed: true}},
		{root, stream.Create{Type: plain, Body: []byte(strings.Repeat("root ", 40_000))}},
		{middle, stream.Create{Fork: &stream.ForkOf{From: root}, Body: []byte(strings.Repeat("middle ", 20_000))}},
		{leaf, stream.Create{Fork: &stream.ForkOf{From: middle}, Body: []byte("leaf")}},
	} {
		if _, _, err := s.CreateStream(t.Context(), c.Name, c.Create); err != nil {
			t.Fatalf("%s: %v", c.Path, err)
		}
	}
	appended(ownStream("json"), stream.Append{Type: "application/json", Body: []byte(`"last"`), Seq: "1", Close: true})
	if err := s.DeleteStream(t.Context(), middle); err != nil { // which the other one needs
		t.Fatal(err)
	}
}

// goOnStreams holds that what was furnished goes on elsewhere.
func goOnStreams(t *testing.T, where string, s stream.Store) {
	t.Helper()
	ctx := t.Context()
	leaf, out := ownStream("a/leaf"), lifecycle.OutputName(lifecycle.Ref{ID: "r11"})
	want := strings.Repeat("root ", 40_000) + strings.Repeat("middle ", 20_000) + "leaf"
	for n, body := range map[stream.Name]string{leaf: want, out: strings.Repeat("said ", 22_001) + "more"} {
		if _, err := s.AppendStream(ctx, n, stream.Append{Type: plain, Body: []byte(" on")}); err != nil {
			t.Errorf("%s: %s: %v", where, n.Path, err)
		}
		p := make([]byte, 1<<20)
		if got, err := s.ReadStream(ctx, n, p, 0); err != nil || string(p[:got]) != body+" on" {
			t.Errorf("%s: %s has %d bytes, want %d, %v", where, n.Path, got, len(body)+3, err)
		}
	}
	if _, err := s.StreamState(ctx, ownStream("z/middle"), false); !errors.Is(err, stream.ErrGone) {
		t.Errorf("%s: a deleted source: %v", where, err)
	}
	if added, err := s.AppendStream(ctx, out, stream.Append{Type: plain, Body: []byte("x"), Producer: &stream.Stamp{ID: "p", Epoch: 2}}); err != nil || !added.Repeated {
		t.Errorf("%s: repeated by its producer: %+v, %v", where, added, err)
	}
	if _, err := s.AppendStream(ctx, lifecycle.OutputName(lifecycle.Ref{ID: "r07"}), stream.Append{Type: plain, Body: []byte("x")}); !errors.As(err, new(*lifecycle.TransitionError)) {
		t.Errorf("%s: to the output of what has ended: %v", where, err)
	}
	if err := s.DeleteStream(ctx, leaf); err != nil { // and with it the one that was kept for it
		t.Errorf("%s: %v", where, err)
	}
	if _, made, err := s.CreateStream(ctx, ownStream("z/middle"), stream.Create{}); err != nil || !made {
		t.Errorf("%s: the name of what is gone: %v", where, err)
	}
}

// lines returns an export, and its lines in an order that does not depend on partitions, without
// the last one, whose sum does.
func lines(t *testing.T, s transfer.Source) (export string, sorted []string) {
	t.Helper()
	var out strings.Builder
	if _, err := transfer.Write(&out, s, wire.JSON, nil); err != nil {
		t.Fatal(err)
	}
	sorted = strings.Split(out.String(), "\n")
	sorted = sorted[:len(sorted)-2]
	slices.Sort(sorted)
	return out.String(), sorted
}

func same(t *testing.T, name string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: a line is\n%.700s\nwas\n%.700s", name, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines, want %d", name, len(got), len(want))
	}
}

// TestTransfer: what the embedded store holds is the same in Redis, whatever its partitions, and
// the other way round; a follower goes on after its cursor, the order of work and deliveries go on.
func TestTransfer(t *testing.T) {
	server := servertest.Redis(t)
	embedded := func(path string) *bolt.Store {
		s, err := bolt.Open(path, bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	from := embedded(filepath.Join(t.TempDir(), "hark.db"))
	furnish(t, from)
	export, want := lines(t, from)
	feed := lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "alice"}.Key()
	for n, partitions := range []int{1, 7} {
		o := redis.Options{Prefix: fmt.Sprint("to", n), Partitions: partitions}
		if err := redis.Import(t.Context(), server.URL, o, transfer.Read(strings.NewReader(export), nil)); err != nil {
			t.Fatal(err)
		}
		s := open(t, server.URL, o)
		again, got := lines(t, s)
		same(t, fmt.Sprint("in ", partitions, " partitions"), got, want)
		path := filepath.Join(t.TempDir(), "hark.db")
		if err := bolt.Import(path, transfer.Read(strings.NewReader(again), nil)); err != nil {
			t.Fatal(err)
		}
		back := embedded(path)
		_, got = lines(t, back)
		same(t, "and back", got, want)

		for name, s := range map[string]anyStore{"Redis": s, "back": back} {
			before, err := s.Read(t.Context(), feed, 12, 1000)
			if err != nil || len(before.Messages) == 0 || before.Messages[0].Offset != 13 {
				t.Fatalf("%s: %d messages, %v", name, len(before.Messages), err)
			}
			if _, err := s.Apply(t.Context(), lifecycle.Named("r02"), lifecycle.Progress{}); err != nil {
				t.Fatal(name, err)
			}
			if h, err := s.Read(t.Context(), feed, before.Top, 10); err != nil || len(h.Messages) != 1 || h.Messages[0].Offset != before.Top+1 {
				t.Errorf("%s: after the cursor: %+v, %v", name, h, err)
			}
			goOnStreams(t, name, s)
			if err := s.(lifecycle.Store).Delete(t.Context(), lifecycle.Named("r03")); err != nil {
				t.Error(name, err)
			}
			claims, _, err := s.Claim(t.Context(), 100, time.Minute)
			if err != nil || len(claims) == 0 {
				t.Errorf("%s: %d deliveries, %v", name, len(claims), err)
			}
		}
		if err := redis.Import(t.Context(), server.URL, o, transfer.Read(strings.NewReader(export), nil)); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("into a store that is there: %v", err)
		}
	}
	transfertest.Imports(t, export, func(t *testing.T, lines iter.Seq2[transfer.Line, error]) error {
		err := redis.Import(t.Context(), server.URL, redis.Options{Prefix: "wrong"}, lines)
		if left, failed := client(t, server).Keys(t.Context(), "wrong:*").Result(); failed != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, failed)
		}
		return err
	})
	// Of one that breaks off nothing is left.
	o := redis.Options{Prefix: "cut"}
	if err := redis.Import(t.Context(), server.URL, o, transfer.Read(strings.NewReader(export[:len(export)*2/3]), nil)); err == nil {
		t.Error("half an export was taken in")
	}
	if left, err := client(t, server).Keys(t.Context(), "cut:*").Result(); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestDamaged: a flipped byte of a content, a record or an event is told, and concerns nobody else.
func TestDamaged(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	damages := codec.NewDamages(discard)
	s := open(t, server.URL, redis.Options{Damages: damages})
	furnish(t, s)
	flip := func(key string) {
		t.Helper()
		value, err := admin.Get(t.Context(), key).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		value[len(value)-1] ^= 1
		if err := admin.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	flip("hark:{p0}:i:r03")
	flip("hark:{p0}:o:r08")
	flip("hark:{p0}:r:r13")
	check := func(name, id, what string, err error) {
		t.Helper()
		d, ok := asDamage(err)
		if !ok || d.ID != id || d.What != what {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.Content(t.Context(), lifecycle.Named("r03"), lifecycle.Input)
	check("content", "r03", "the content", err)
	_, err = s.Content(t.Context(), lifecycle.Named("r08"), lifecycle.Output)
	check("result", "r08", "the result", err)
	_, err = s.Get(t.Context(), lifecycle.Named("r13"))
	check("record", "r13", "the record", err)
	if n := damages.Count(); n != 3 {
		t.Errorf("%d damages are counted", n)
	}
	if c, err := s.Content(t.Context(), lifecycle.Named("r03"), lifecycle.Output); err != nil || string(c.Data) != "result of r03" {
		t.Errorf("%q, %v", c.Data, err)
	}
	if _, err := s.Sweep(t.Context(), 100); err != nil {
		t.Error(err)
	}
	var found []string
	if err := s.Export(func(transfer.Line) error { return nil }, func(err error) { found = append(found, err.Error()) }); err != nil || len(found) != 3 {
		t.Errorf("%v, %v", found, err)
	}
}

// idle is a queue that takes nothing.
type idle struct{}

func (idle) Ready(context.Context) error                      { return lifecycle.ErrUnavailable }
func (idle) Enqueue(context.Context, lifecycle.Request) error { return lifecycle.ErrUnavailable }
func (idle) Discard(lifecycle.Request)                        {}

// TestDeleteDamaged: requests whose records are damaged can be deleted in whatever state they are,
// with all keys and entries that are theirs, and nobody else is concerned.
func TestDeleteDamaged(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	for _, partitions := range []int{1, 7} {
		o := redis.Options{Prefix: fmt.Sprint("in", partitions), Partitions: partitions, Damages: codec.NewDamages(discard)}
		s := open(t, server.URL, o)
		furnish(t, s)
		sub := lifecycle.Submission{
			ID: "again", Life: lifecycle.NewLife(), Owner: "alice", Route: "images", MaxAttempts: 3, Timeout: time.Hour, Retention: time.Hour,
			Content: lifecycle.Content{Data: []byte("x")},
		}
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		keys := func(pattern string) []string {
			t.Helper()
			found, err := admin.Keys(t.Context(), o.Prefix+":{p*}:"+pattern).Result()
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		ids := []string{"r00", "r01", "r02", "r03", "again"}
		for i, id := range ids {
			at := keys("r:" + id)
			if len(at) != 1 {
				t.Fatal(id, at)
			}
			value, err := admin.Get(t.Context(), at[0]).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			value[len(value)-1] ^= 1
			if i == 0 { // and nothing of it can be read
				value = []byte("?")
			}
			if err := admin.Set(t.Context(), at[0], value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(t.Context(), lifecycle.Named(id)); err == nil {
				t.Errorf("%s is deleted, damaged as it is", id)
			}
			if r, err := s.DeleteDamaged(t.Context(), id); err != nil || r.ID != id || r.Owner == "" {
				t.Errorf("%s: %+v, %v", id, r, err)
			}
			if _, err := s.DeleteDamaged(t.Context(), id); !errors.Is(err, lifecycle.ErrNotFound) {
				t.Errorf("%s again: %v", id, err)
			}
			if left := keys("[rhioe]:" + id + "*"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		}
		// What a record says of an owner counts as long as that can be read, whatever else of the
		// request cannot.
		service := lifecycle.New(s, idle{}, lifecycle.Options{})
		alice, bob, root := lifecycle.Principal{Subject: "alice"}, lifecycle.Principal{Subject: "bob"},
			lifecycle.Principal{Subject: "root", Roles: []lifecycle.Role{lifecycle.RoleAdmin}}
		for _, key := range slices.Concat(keys("o:r08"), keys("i:r08"), keys("r:r13")) {
			value, err := admin.Get(t.Context(), key).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			value[len(value)-1] ^= 1
			if err := admin.Set(t.Context(), key, value, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			who  lifecycle.Principal
			id   string
			want bool
		}{{bob, "r08", false}, {alice, "r08", true}, {alice, "r13", false}, {bob, "r13", false}, {root, "r13", true}} {
			if err := service.Delete(t.Context(), c.who, lifecycle.Named(c.id)); (err == nil) != c.want {
				t.Errorf("%s deletes %s: %v", c.who.Subject, c.id, err)
			}
		}
		service.Close()
		if _, err := s.DeleteDamaged(t.Context(), "r05"); !errors.Is(err, lifecycle.ErrNotFound) {
			t.Errorf("one that is whole: %v", err)
		}
		for _, index := range []string{"pending", "processing", "expiry", "own:*"} {
			for _, key := range keys(index) {
				entries, err := admin.ZRange(t.Context(), key, 0, -1).Result()
				if err != nil {
					t.Fatal(err)
				}
				for _, entry := range entries {
					for _, id := range ids {
						if entry == id || strings.HasSuffix(entry, id) || strings.HasPrefix(entry, id+"\x00") {
							t.Errorf("%s has %q", key, entry)
						}
					}
				}
			}
		}
		open := map[string]int64{}
		for r, err := range s.Unfinished(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			open[r.Owner]++
		}
		for owner, want := range open {
			var got int64
			for _, key := range keys("use:" + owner) {
				n, err := admin.HGet(t.Context(), key, "o").Int64()
				if err != nil && !errors.Is(err, goredis.Nil) { // it may have streams alone there
					t.Fatal(err)
				}
				got += n
			}
			if got != want {
				t.Errorf("%s takes %d, want %d", owner, got, want)
			}
		}
		sub = lifecycle.Submission{
			ID: "r00", Owner: "alice", Route: "images", MaxAttempts: 3, Timeout: time.Hour, Retention: time.Hour, Fingerprint: "another",
			Key: "key-r00", KeyLock: time.Minute, Content: lifecycle.Content{Data: []byte("x")},
		}
		if c, err := s.Create(t.Context(), sub); err != nil || c.Existed {
			t.Errorf("its id and its key again: %+v, %v", c, err)
		}
		if err := s.Export(func(transfer.Line) error { return nil }, func(err error) { t.Errorf("a check says %v", err) }); err != nil {
			t.Error(err)
		}
	}
}
