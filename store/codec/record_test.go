package codec_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
)

// TestRecord: of requests in which any number of fields is set, all that was written is read back.
func TestRecord(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for n := range 2000 {
		var r lifecycle.Request
		share := rnd.Float64()
		if n == 0 {
			share = 1
		}
		fill(t, rnd, share, reflect.ValueOf(&r).Elem())
		sameRecord(t, &r)
		if t.Failed() {
			t.Fatalf("seed %d, request %d", seed, n)
		}
	}
}

// TestWireFormat: the library of the wire format takes a record apart into the fields that were
// written, and puts together what is read.
func TestWireFormat(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 2))
	for n := range 500 {
		var r lifecycle.Request
		fill(t, rnd, rnd.Float64(), reflect.ValueOf(&r).Elem())
		record := codec.AppendRecord(nil, &r)
		var again []byte
		for rest := record; len(rest) > 0; {
			number, wire, tag := protowire.ConsumeTag(rest)
			if tag < 0 {
				t.Fatalf("seed %d, request %d: %v before %x", seed, n, protowire.ParseError(tag), rest)
			}
			again = protowire.AppendTag(again, number, wire)
			rest = rest[tag:]
			size := 0
			switch wire {
			case protowire.VarintType:
				var value uint64
				value, size = protowire.ConsumeVarint(rest)
				again = protowire.AppendVarint(again, value)
			case protowire.Fixed64Type:
				var value uint64
				value, size = protowire.ConsumeFixed64(rest)
				again = protowire.AppendFixed64(again, value)
			case protowire.BytesType:
				var value []byte
				value, size = protowire.ConsumeBytes(rest)
				again = protowire.AppendBytes(again, value)
			default:
				t.Fatalf("seed %d, request %d: wire type %d", seed, n, wire)
			}
			if size < 0 {
				t.Fatalf("seed %d, request %d: %v in field %d", seed, n, protowire.ParseError(size), number)
			}
			rest = rest[size:]
		}
		if string(again) != string(record) {
			t.Fatalf("seed %d, request %d:\n%x, want\n%x", seed, n, record, again)
		}
		// As a newer program may write.
		again = protowire.AppendTag(again, 1000, protowire.BytesType)
		again = protowire.AppendString(again, "unknown")
		read, plain := lifecycle.Request{}, lifecycle.Request{}
		if err := codec.DecodeRecord(string(again), &read); err != nil {
			t.Fatal(err)
		}
		if err := codec.DecodeRecord(string(record), &plain); err != nil || !reflect.DeepEqual(read, plain) {
			t.Fatalf("seed %d, request %d: %+v, want %+v, %v", seed, n, read, plain, err)
		}
	}
}

func sameRecord(t *testing.T, r *lifecycle.Request) {
	t.Helper()
	want, got := *r, lifecycle.Request{ID: r.ID}
	want.Position, want.Estimate, want.Given, want.Parked, want.InLine = nil, time.Time{}, nil, false, nil
	if len(want.Headers) == 0 {
		want.Headers = nil
	}
	if err := codec.DecodeRecord(string(codec.AppendRecord([]byte("before"), r)[len("before"):]), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n%+v, want\n%+v", got, want)
	}
}

// TestReferring: of a record whose value is out of line all else is read back, with where the value
// is; and nobody reads it without noticing.
func TestReferring(t *testing.T) {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for _, mark := range []byte{1, 0x7f, 0x80, 0xff} {
		var r lifecycle.Request
		fill(t, rnd, 1, reflect.ValueOf(&r).Elem())
		record := string(codec.AppendReferring(nil, &r, mark))
		want, got := r, lifecycle.Request{ID: r.ID}
		want.Position, want.Estimate, want.Given, want.Parked, want.InLine = nil, time.Time{}, nil, false, nil
		want.Result = &lifecycle.Result{ContentInfo: r.Result.ContentInfo}
		if read, err := codec.DecodeReferring(record, &got); err != nil || read != mark || !reflect.DeepEqual(got, want) {
			t.Errorf("%d, %v,\n%+v, want %d and\n%+v", read, err, got, mark, want)
		}
		if err := codec.DecodeRecord(record, new(lifecycle.Request)); err == nil {
			t.Errorf("%d: it was read without the value", mark)
		}
	}
	var r lifecycle.Request
	if mark, err := codec.DecodeReferring("\xa2\x01\x05\x1a\x01x\x20\x01", &r); err == nil {
		t.Errorf("a result with a value and a mark: %d, %+v", mark, r.Result)
	}
}

// fill sets a share of everything in v.
func fill(t *testing.T, rnd *rand.Rand, share float64, v reflect.Value) {
	t.Helper()
	if rnd.Float64() >= share {
		return
	}
	words := []string{"a", "plain words", `quoted "\`, "<&>", "line\nfeed\x00", "zürich 日本 🙂", "\xff\xfe", "\u2028"}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMicro(rnd.Int64N(4e15)).UTC()))
		return
	case lifecycle.Status:
		v.Set(reflect.ValueOf(lifecycle.Statuses[rnd.IntN(len(lifecycle.Statuses))]))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage([]string{"null", "1", `{"a":[1,"x"]}`}[rnd.IntN(3)])))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[rnd.IntN(len(words))])
	case reflect.Int, reflect.Int64:
		v.SetInt(rnd.Int64() - rnd.Int64())
	case reflect.Int32:
		v.SetInt(int64(int32(rnd.Uint32())))
	case reflect.Uint64:
		v.SetUint(rnd.Uint64())
	case reflect.Uint8:
		v.SetUint(rnd.Uint64N(256))
	case reflect.Float64:
		v.SetFloat([]float64{0, 100, 33.333333333333336, 1e-9, 99.5}[rnd.IntN(5)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, rnd, share, v.Elem())
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, rnd, share, field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, rnd, share, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, rnd, 1, key)
			fill(t, rnd, share, value)
			v.SetMapIndex(key, value)
		}
	default:
		t.Fatalf("a field of type %v: say here how one is made, and see whether it is in the record", v.Type())
	}
}

func FuzzRecord(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	f.Add(string(codec.AppendRecord(nil, &lifecycle.Request{
		Owner: "me", Route: "images", Status: lifecycle.Failed, Sequence: 7, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		Error: &lifecycle.Failure{Code: "a", Trace: "b"}, Headers: map[string]string{"x": "y"}, Percent: new(1.5),
		Webhook: &lifecycle.Webhook{Endpoint: "e", Types: []lifecycle.EventType{lifecycle.EventFailed}},
	})))
	f.Add(string(codec.AppendRecord(nil, &lifecycle.Request{
		Batch: &lifecycle.Batch{Total: 9, Succeeded: 1, Failed: 2, Canceled: 3, Expired: 2, Counted: []byte{0x7f, 1}, Named: true, Timed: true, FailFast: true, Joined: true, Then: "t", Submitted: true, Limit: 5}, BatchID: "b", Member: 3,
	})))
	f.Add("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a")
	f.Add("\x82\x01\x01")
	f.Add(string(codec.AppendReferring(nil, &lifecycle.Request{Result: &lifecycle.Result{}}, 0x80)))
	f.Fuzz(func(t *testing.T, data string) {
		var r lifecycle.Request
		mark, err := codec.DecodeReferring(data, &r)
		if err != nil || r.Percent != nil && *r.Percent != *r.Percent {
			return
		}
		var again lifecycle.Request
		if same, err := codec.DecodeReferring(string(codec.AppendReferring(nil, &r, mark)), &again); err != nil || same != mark || !reflect.DeepEqual(r, again) {
			t.Errorf("%+v, %d became %+v, %d, %v", r, mark, again, same, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	percent := 40.0
	now := time.Now().UTC()
	r := lifecycle.Request{
		ID: "0195f0c2-5f43-7d0a-9f0e-3c1f6b0a9e11", Owner: "anonymous", Route: "images", Status: lifecycle.Processing, Step: "resizing the image",
		Percent: &percent, Attempt: 1, MaxAttempts: 3, Sequence: 4, CreatedAt: now, UpdatedAt: now, StartedAt: now, ExpiresAt: now.Add(time.Hour),
		Retention: 24 * time.Hour, Input: lifecycle.ContentInfo{Type: "application/json", Size: 200}, Headers: map[string]string{"Traceparent": "00-1-2-01"},
		Fingerprint: "2jmj7l5rSw0yVb_vlWAYkK_YBwk",
	}
	record := string(codec.AppendRecord(nil, &r))
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(len(record)), "B/record")
		var dst []byte
		for b.Loop() {
			dst = codec.AppendRecord(dst[:0], &r)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r lifecycle.Request
			if err := codec.DecodeRecord(record, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
