package redis_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/webhook/dispatch"
)

// TestLayout1: a store that has requests and events of the first layout is read, and gone on with,
// and is closed to programs that know no other from then on.
func TestLayout1(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	do := func(args ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	r := lifecycle.Request{
		ID: "old", Owner: "alice", Route: "images", Topic: "cats", Status: lifecycle.Pending, MaxAttempts: 3, Sequence: 1,
		CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour), Retention: time.Hour, Fingerprint: "f",
		Headers: map[string]string{"Traceparent": "x"}, Position: new(3),
	}
	var events []string
	for i, event := range []lifecycle.EventType{lifecycle.EventAccepted, lifecycle.EventStarted} {
		if event == lifecycle.EventStarted {
			r.Status, r.StartedAt, r.Attempt, r.Sequence, r.Position = lifecycle.Processing, now, 1, 2, nil
		}
		events = append(events, string(wire.AppendEvent(nil, &r, event)))
		id := fmt.Sprint(i+1, "-0")
		do("XADD", "hark:{p0}:e:old", id, "t", "token--------"+fmt.Sprint("--", i+1), "l", "0", "e", events[i])
		for _, feed := range []string{aliceFeed.Key(), lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: "alice", Name: "cats"}.Key()} {
			do("INCR", "hark:{p0}:t:"+feed)
			do("ZADD", "hark:{p0}:aging", "NX", now.UnixMicro(), feed)
			do("XADD", "hark:{p0}:f:"+feed, id, "t", now.UnixMicro(), "l", "0", "e", events[i])
		}
	}
	record, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	ticket := fmt.Sprintf("%016d", now.UnixMicro())
	do("SET", "hark:{p0}:r:old", "token----------2r"+ticket+ticket+"images\x009\n"+string(record))
	do("SET", "hark:{p0}:i:old", "\x0atext/plainhello")
	do("ZADD", "hark:{p0}:own:alice", ticket, "old\x00images\x00cats")
	do("ZADD", "hark:{p0}:processing", 0, "old")
	do("ZADD", "hark:{p0}:expiry", r.ExpiresAt.UnixMicro(), "old")
	do("HSET", "hark:meta", "format", "hark", "version", 1, "partitions", 1)

	s := open(t, server.URL, redis.Options{})
	if version := admin.HGet(t.Context(), "hark:meta", "version").Val(); version != "6" {
		t.Errorf("version %s", version)
	}
	if got, err := s.Get(t.Context(), lifecycle.Named("old")); err != nil || got.Route != r.Route || !got.CreatedAt.Equal(now) || got.Headers["Traceparent"] != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	for topic, want := range map[string]int{"cats": 1, "dogs": 0} { // as long as it is in that form
		if list, err := s.List(t.Context(), lifecycle.Query{All: true, Topic: topic, Limit: 10}); err != nil || len(list.Requests) != want {
			t.Errorf("%s: %+v, %v", topic, list, err)
		}
	}
	apply(t, s, "old", lifecycle.Progress{Percent: new(50.0)})
	apply(t, s, "old", lifecycle.Succeed{})
	agree(t, s, "old")
	for _, channel := range []string{"request:old", aliceFeed.Key()} {
		h, err := s.Read(t.Context(), channel, 0, 10)
		if err != nil || len(h.Messages) != 4 || h.Top != 4 {
			t.Fatalf("%s: %+v, %v", channel, h, err)
		}
		contiguous(t, h)
		for i, want := range events {
			if m := h.Messages[i]; string(wire.JSON(m.Event)) != want || m.Last {
				t.Errorf("%s: %+v, want %s", channel, m, want)
			}
		}
		if m := h.Messages[3]; !strings.Contains(string(wire.JSON(m.Event)), `"type":"request.succeeded","subject":"cats"`) || m.Last != (channel == "request:old") {
			t.Errorf("%s: %+v", channel, m)
		}
	}
	for _, q := range []lifecycle.Query{{Owner: "alice", Limit: 10}, {All: true, Topic: "cats", Limit: 10}} {
		list, err := s.List(t.Context(), q)
		if err != nil || len(list.Requests) != 1 || list.Requests[0].Status != lifecycle.Succeeded {
			t.Errorf("%+v: %+v, %v", q, list, err)
		}
	}
}

// TestDeadOfOlderStore: what has failed in a store of the version before is in the index when it is
// opened.
func TestDeadOfOlderStore(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 3})
	for i := range 40 {
		id := fmt.Sprintf("r%02d", i)
		create(t, s, id)
		apply(t, s, id, lifecycle.Start{})
		if i%4 == 0 {
			apply(t, s, id, lifecycle.Fail{})
		}
	}
	before, err := s.DeadRequests(t.Context(), lifecycle.DeadQuery{Route: "images", Limit: 100})
	if err != nil || len(before.Requests) != 10 {
		t.Fatalf("%+v, %v", before, err)
	}
	for partition := range 3 {
		tag := fmt.Sprintf("hark:{p%d}:", partition)
		if err := admin.Del(t.Context(), tag+"dead", tag+"dead:images", tag+"made", tag+"made:images").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.HSet(t.Context(), "hark:meta", "version", 4).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, server.URL, redis.Options{})
	after, err := s.DeadRequests(t.Context(), lifecycle.DeadQuery{Route: "images", Limit: 100})
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, %v, want %+v", after, err, before)
	}
	routes, err := s.DeadRoutes(t.Context(), "", 10)
	if err != nil || len(routes) != 1 || routes[0].Requests != 10 {
		t.Errorf("%+v, %v", routes, err)
	}
	if version := admin.HGet(t.Context(), "hark:meta", "version").Val(); version != "6" {
		t.Errorf("version %s", version)
	}
}

// TestMadeOfOlderStore: what is in a store of the version before is in the list of everybody's when
// it is opened.
func TestMadeOfOlderStore(t *testing.T) {
	server := servertest.Redis(t)
	admin := client(t, server)
	s := open(t, server.URL, redis.Options{Partitions: 3})
	for i := range 40 {
		create(t, s, fmt.Sprintf("r%02d", i))
		s.Advance(time.Millisecond)
	}
	list := func() []lifecycle.Request {
		t.Helper()
		page, err := s.List(t.Context(), lifecycle.Query{All: true, Limit: 100})
		if err != nil || len(page.Requests) != 40 || page.Next != "" || page.Requests[0].ID != "r39" {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Requests
	}
	before := list()
	for _, owner := range []string{"alice", "bob", "carol"} {
		if _, err := s.CreateEndpoint(t.Context(), dispatch.Endpoint{ID: "of-" + owner, Owner: owner, Status: dispatch.Active}); err != nil {
			t.Fatal(err)
		}
	}
	endpoints, err := s.ListAllEndpoints(t.Context(), "", 10)
	if err != nil || len(endpoints) != 3 {
		t.Fatalf("%+v, %v", endpoints, err)
	}
	for partition := range 3 {
		tag := fmt.Sprintf("hark:{p%d}:", partition)
		if err := admin.Del(t.Context(), tag+"made", tag+"made:images", tag+"w:all").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.HSet(t.Context(), "hark:meta", "version", 5).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, server.URL, redis.Options{})
	if after := list(); !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, want %+v", after, before)
	}
	if after, err := s.ListAllEndpoints(t.Context(), "", 10); err != nil || !reflect.DeepEqual(after, endpoints) {
		t.Errorf("%+v, %v, want %+v", after, err, endpoints)
	}
	if version := admin.HGet(t.Context(), "hark:meta", "version").Val(); version != "6" {
		t.Errorf("version %s", version)
	}
}
