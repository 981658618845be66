package lifecycle_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// TestRecord holds the record against encoding/json, for requests in which any number of fields is set: what is
// written is read back as what encoding/json would have brought back.
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

func sameRecord(t *testing.T, r *lifecycle.Request) {
	t.Helper()
	want, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got := lifecycle.AppendRecord([]byte("before"), r)[len("before"):]
	var a, b lifecycle.Request
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("\n%s, want what is read of\n%s", got, want)
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
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage([]string{"null", "1", `{"a":[1,"x"]}`}[rnd.IntN(3)])))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[rnd.IntN(len(words))])
	case reflect.Int, reflect.Int64:
		v.SetInt(rnd.Int64() - rnd.Int64())
	case reflect.Uint64:
		v.SetUint(rnd.Uint64())
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
		t.Fatalf("a field of type %v: say here how one is made, and see whether AppendRecord writes it", v.Type())
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("r1", "me", "step", "message\n", `de"tail`, "text/plain; a=\"b\"", "ü", 33.3, int64(1), uint64(7))
	f.Fuzz(func(t *testing.T, id, owner, step, message, detail, mediaType, header string, percent float64, nanos int64, sequence uint64) {
		if percent != percent || percent-percent != 0 { // JSON knows neither
			percent = 0
		}
		at := time.Unix(nanos%(1<<33), 5).UTC()
		sameRecord(t, &lifecycle.Request{
			ID: id, Owner: owner, Step: step, Message: message, Percent: &percent, Sequence: sequence, CreatedAt: at, EndedAt: at,
			Error: &lifecycle.Failure{Code: step, Message: message, Detail: detail}, Input: lifecycle.ContentInfo{Type: mediaType, Size: nanos},
			Headers: map[string]string{header: detail, owner: id}, Key: header,
		})
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
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst = lifecycle.AppendRecord(dst[:0], &r)
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
