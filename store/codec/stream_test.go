package codec_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
)

// TestStream: of streams in which any number of fields is set, all that was written is read back,
// and nothing that was cut or changed makes the reader fail in another way than by saying so.
func TestStream(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 3))
	for n := range 1000 {
		var s, got stream.Stream
		share := rnd.Float64()
		if n == 0 {
			share = 1
		}
		fill(t, rnd, share, reflect.ValueOf(&s).Elem())
		for id, p := range s.Producers {
			p.At = p.At.Round(0)
			s.Producers[id] = p
		}
		if len(s.Producers) == 0 {
			s.Producers = nil
		}
		if len(s.Segments) == 0 {
			s.Segments = nil
		}
		record := string(codec.AppendStream(nil, &s))
		if err := codec.DecodeStream(record, &got); err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("seed %d, stream %d: %v\n%+v, want\n%+v", seed, n, err, got, s)
		}
		if len(record) > 0 {
			_ = codec.DecodeStream(record[:rnd.IntN(len(record))], new(stream.Stream))
			damaged := []byte(record)
			damaged[rnd.IntN(len(damaged))] ^= 1 << rnd.IntN(8)
			_ = codec.DecodeStream(string(damaged), new(stream.Stream))
		}
	}
}
