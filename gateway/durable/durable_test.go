package durable_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/gateway/durable"
	"github.com/hark-push/hark/stream"
)

// header is a head with fields, as "Name: value".
func header(lines ...string) durable.Header {
	return func(name string) (string, bool) {
		for _, line := range lines {
			if field, value, _ := strings.Cut(line, ":"); strings.EqualFold(field, name) {
				return strings.TrimSpace(value), true
			}
		}
		return "", false
	}
}

// wantError fails unless err is about a place.
func wantError(t *testing.T, about string, err error, at string) {
	t.Helper()
	if e, ok := errors.AsType[*durable.Error](err); !ok || e.At != at || e.Detail == "" {
		t.Errorf("%s: %v, want an error at %s", about, err, at)
	}
}

func TestCreate(t *testing.T) {
	expires := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, k := range []struct {
		lines []string
		want  stream.Create
	}{
		{nil, stream.Create{}},
		{[]string{"Stream-TTL: 3600"}, stream.Create{TTL: time.Hour}},
		{[]string{"Stream-TTL: 0"}, stream.Create{TTL: 1}},
		{[]string{"Stream-Expires-At: 2030-01-31T13:00:00+01:00"}, stream.Create{Expires: expires}},
		// What cannot be counted is as good as never, or over.
		{[]string{"Stream-Expires-At: 9999-12-31T23:59:59Z"}, stream.Create{Expires: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{[]string{"Stream-Expires-At: 1066-10-14T09:00:00Z"}, stream.Create{Expires: time.Unix(1, 0)}},
		{[]string{"Stream-Closed: TRUE"}, stream.Create{Closed: true}},
		{[]string{"Stream-Closed: yes"}, stream.Create{}},
		{[]string{"Stream-Closed:"}, stream.Create{}},
		{[]string{"Stream-Forked-From: /v1/stream/a/b%20c"}, stream.Create{Fork: &stream.ForkOf{From: stream.Name{Path: "a/b c"}}}},
		{
			[]string{"Stream-Forked-From: /v1/stream/a", "Stream-Fork-Offset: 0000000000000007_tag", "Stream-Fork-Sub-Offset: 3"},
			stream.Create{Fork: &stream.ForkOf{From: stream.Name{Path: "a"}, Offset: "0000000000000007_tag", Sub: 3}},
		},
		{[]string{"Stream-Forked-From: /v1/stream/a", "Stream-Fork-Sub-Offset: 0"}, stream.Create{Fork: &stream.ForkOf{From: stream.Name{Path: "a"}}}},
	} {
		got, err := durable.Create(header(k.lines...))
		same := got.TTL == k.want.TTL && got.Expires.Equal(k.want.Expires) && got.Closed == k.want.Closed && (got.Fork == nil) == (k.want.Fork == nil)
		if err != nil || !same || got.Fork != nil && *got.Fork != *k.want.Fork {
			t.Errorf("%q: %+v, %v, want %+v", k.lines, got, err, k.want)
		}
	}
	for _, bad := range []string{"", "-1", "+1", "01", "00", "1.0", "1e3", "x", "9000000001", "99999999999999999999", "１"} {
		_, err := durable.Create(header("Stream-TTL: " + bad))
		wantError(t, "TTL "+bad, err, durable.FieldTTL)
	}
	for _, bad := range []string{"", "x", "2030-01-31", "1893456000", "0001-01-01T00:00:00Z"} {
		_, err := durable.Create(header("Stream-Expires-At: " + bad))
		wantError(t, "time "+bad, err, durable.FieldExpires)
	}
	for at, lines := range map[string][]string{
		durable.FieldExpires:    {"Stream-TTL: 1", "Stream-Expires-At: 2030-01-31T00:00:00Z"},
		durable.FieldForkOffset: {"Stream-Fork-Offset: 0000000000000007_tag"},
		durable.FieldForkSub:    {"Stream-Fork-Sub-Offset: 0"},
	} {
		_, err := durable.Create(header(lines...))
		wantError(t, strings.Join(lines, ", "), err, at)
	}
	for _, bad := range []string{"", "a", "/v1/stream/", "/v1/stream", "/v1/streams/a", "/v1/stream/%zz", "/v1/stream/../a", "/v1/stream/a//b", "http://other/v1/stream/a", "/v1/stream/a%00"} {
		_, err := durable.Create(header("Stream-Forked-From: " + bad))
		wantError(t, "source "+bad, err, durable.FieldForkedFrom)
	}
	for _, bad := range []string{"", "now"} {
		_, err := durable.Create(header("Stream-Forked-From: /v1/stream/a", "Stream-Fork-Offset: "+bad))
		wantError(t, "offset "+bad, err, durable.FieldForkOffset)
	}
	for _, bad := range []string{"", "-1", "+1", "05", "1.5", "abc", "9007199254740992"} {
		_, err := durable.Create(header("Stream-Forked-From: /v1/stream/a", "Stream-Fork-Offset: 0000000000000007_tag", "Stream-Fork-Sub-Offset: "+bad))
		wantError(t, "sub-offset "+bad, err, durable.FieldForkSub)
	}
	_, err := durable.Create(header("Stream-Forked-From: /v1/stream/a", "Stream-Fork-Sub-Offset: 1"))
	wantError(t, "sub-offset alone", err, durable.FieldForkSub)
}

func TestAppend(t *testing.T) {
	a, err := durable.Append(header("Stream-Seq: 007", "Stream-Closed: true", "Producer-Id: p", "Producer-Epoch: 3", "Producer-Seq: 9007199254740991"))
	if err != nil || a.Seq != "007" || !a.Close || a.Producer == nil || *a.Producer != (stream.Stamp{ID: "p", Epoch: 3, Seq: 1<<53 - 1}) {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := durable.Append(header()); err != nil || a.Producer != nil || a.Close || a.Seq != "" {
		t.Errorf("%+v, %v", a, err)
	}
	_, err = durable.Append(header("Stream-Seq:"))
	wantError(t, "empty", err, durable.FieldSeq)
	all := []string{"Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0"}
	for i, name := range []string{durable.FieldProducer, durable.FieldEpoch, durable.FieldProducerSeq} {
		var rest []string
		rest = append(append(rest, all[:i]...), all[i+1:]...)
		_, err := durable.Append(header(rest...))
		wantError(t, "without "+name, err, name)
		for _, bad := range []string{"", "-1", "1.5", "x", "9007199254740992", strings.Repeat("9", 300)} {
			if name == durable.FieldProducer && len(bad) > 0 && len(bad) < 300 {
				continue
			}
			_, err := durable.Append(header(append(rest, name+": "+bad)...))
			wantError(t, name+": "+bad, err, name)
		}
	}
}

func TestParseRead(t *testing.T) {
	parse := func(query map[string][]string) (durable.Read, error) {
		return durable.ParseRead(func(name string) []string { return query[name] })
	}
	for _, k := range []struct {
		query map[string][]string
		want  durable.Read
	}{
		{nil, durable.Read{Offset: "-1"}},
		{map[string][]string{"offset": {"x"}, "cursor": {"1"}}, durable.Read{Offset: "x", Cursor: "1"}},
		{map[string][]string{"offset": {"now"}, "live": {"sse"}}, durable.Read{Offset: "now", Live: durable.SSE}},
		{map[string][]string{"offset": {"-1"}, "live": {"long-poll"}}, durable.Read{Offset: "-1", Live: durable.LongPoll}},
	} {
		if got, err := parse(k.query); err != nil || got != k.want {
			t.Errorf("%v: %+v, %v", k.query, got, err)
		}
	}
	for at, queries := range map[string][]map[string][]string{
		"?offset": {{"offset": {""}}, {"offset": {"a", "b"}}, {"live": {"sse"}}, {"live": {"long-poll"}}},
		"?live":   {{"offset": {"-1"}, "live": {""}}, {"offset": {"-1"}, "live": {"SSE"}}, {"offset": {"-1"}, "live": {"sse", "sse"}}},
	} {
		for _, query := range queries {
			_, err := parse(query)
			wantError(t, strconv.Quote(at), err, at)
		}
	}
	s := stream.Stream{Tag: "tag", Tail: 9}
	for offset, want := range map[string]uint64{"-1": 0, "now": 9, s.Offset(4): 4} {
		if got, err := (&durable.Read{Offset: offset}).From(&s); got != want || err != nil {
			t.Errorf("%s: %d, %v", offset, got, err)
		}
	}
	for _, offset := range []string{"x", s.Offset(10), (&stream.Stream{Tag: "other"}).Offset(4)} {
		if got, err := (&durable.Read{Offset: offset}).From(&s); !errors.Is(err, stream.ErrOffset) {
			t.Errorf("%s: %d, %v", offset, got, err)
		}
	}
}

// TestCursor: the next cursor is the interval, or lies beyond what the reader has.
func TestCursor(t *testing.T) {
	now := time.Date(2024, 10, 9, 0, 1, 5, 0, time.UTC)
	least, most := func(int) int { return 0 }, func(n int) int { return n - 1 }
	for _, k := range []struct {
		got    string
		random func(int) int
		want   string
	}{
		{"", least, "3"},
		{"2", least, "3"},
		{"3", least, "4"},
		{"3", most, "183"},
		{"100", least, "101"},
		{"x", least, "3"},
		{"-1", least, "3"},
		{"99999999999999999999", least, "3"},
	} {
		if got := durable.Cursor(now, k.got, k.random); got != k.want {
			t.Errorf("%s: %s, want %s", k.got, got, k.want)
		}
	}
	if got := durable.Cursor(time.Unix(0, 0), "", least); got != "0" {
		t.Errorf("before it all: %s", got)
	}
}

func TestDescribe(t *testing.T) {
	got := make(map[string]string)
	s := stream.Stream{Tag: "tag", Tail: 3, TTL: time.Minute, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Closed: true}
	durable.Describe(&s, func(name, value string) { got[name] = value })
	for name, want := range map[string]string{
		"Stream-Next-Offset": "0000000000000003_tag", "Stream-TTL": "60", "Stream-Expires-At": "2030-01-01T00:00:00Z", "Stream-Closed": "true",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	open := s
	open.Closed = false
	if durable.ETag(&s, 0, 3) == durable.ETag(&open, 0, 3) || durable.ETag(&s, 0, 3) == durable.ETag(&s, 1, 3) {
		t.Error("tags of different answers are the same")
	}
}

// FuzzCall: whatever a call says, it is understood or refused at a place of its own, and what is
// understood keeps to the protocol.
func FuzzCall(f *testing.F) {
	f.Add("3600", "2030-01-01T00:00:00Z", "/v1/stream/a", "0000000000000001_x", "1", "p", "0", "1", "-1", "sse", "7")
	f.Add("", "", "", "", "", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, ttl, expires, from, at, sub, id, epoch, seq, offset, live, cursor string) {
		given := map[string]string{
			durable.FieldTTL: ttl, durable.FieldExpires: expires, durable.FieldForkedFrom: from, durable.FieldForkOffset: at, durable.FieldForkSub: sub,
			durable.FieldProducer: id, durable.FieldEpoch: epoch, durable.FieldProducerSeq: seq,
		}
		h := func(name string) (string, bool) { return given[name], given[name] != "" }
		check := func(err error) bool {
			e, ok := errors.AsType[*durable.Error](err)
			if err != nil && (!ok || e.At == "" || e.Detail == "") {
				t.Fatalf("%v", err)
			}
			return err == nil
		}
		if c, err := durable.Create(h); check(err) {
			if c.TTL < 0 || c.TTL > 0 && !c.Expires.IsZero() || c.Fork != nil && (!stream.ValidPath(c.Fork.From.Path) || c.Fork.Sub < 0) {
				t.Errorf("%+v", c)
			}
		}
		if a, err := durable.Append(h); check(err) && a.Producer != nil && (a.Producer.ID == "" || a.Producer.Epoch < 0 || a.Producer.Seq < 0) {
			t.Errorf("%+v", a.Producer)
		}
		_, err := durable.ParseRead(func(name string) []string {
			if text := map[string]string{"offset": offset, "live": live, "cursor": cursor}[name]; text != "" {
				return []string{text}
			}
			return nil
		})
		check(err)
		next, err := strconv.ParseInt(durable.Cursor(time.Now(), cursor, func(int) int { return 0 }), 10, 64)
		if had, bad := strconv.ParseInt(cursor, 10, 54); err != nil || bad == nil && !strings.ContainsAny(cursor, "+-") && next <= had {
			t.Errorf("behind the cursor %q comes %d, %v", cursor, next, err)
		}
	})
}
