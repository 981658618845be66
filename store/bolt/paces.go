package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// paces are how fast work goes. The writer changes them, readers may look at them. They are stored
// now and then, beside what is stored anyway; what of them was not is no loss, nor is what belongs
// to a batch that could not be made durable.
type paces struct {
	mu sync.RWMutex
	of map[string]*storedPace
}

type storedPace struct {
	lifecycle.Pace
	stored time.Time // when it was last
}

// paceStored is how often a pace is stored.
const paceStored = time.Second

// paceKey is where in kept stands how fast something goes: count, seconds that they took, busy
// seconds, all three as float64, and the time of the newest.
func paceKey(of string) []byte { return append([]byte("pace\x00"), of...) }

// pace takes note of what a step says of how fast work goes.
func (b *batch) pace(was, is *lifecycle.Request) {
	sample, ok := lifecycle.PaceOf(was, is)
	if !ok {
		return
	}
	all := &b.s.paces
	all.mu.Lock()
	p := all.of[sample.Of]
	oldest := ""
	if p == nil {
		oldest = all.crowded()
		delete(all.of, oldest)
		p = new(storedPace)
		all.of[sample.Of] = p
	}
	p.Pace = p.After(sample, b.now)
	value := appendPace(nil, p.Pace)
	due := b.now.Sub(p.stored) >= paceStored || b.now.Before(p.stored)
	if due {
		p.stored = b.now
	}
	all.mu.Unlock()
	if oldest != "" {
		b.delete(keptBucket, paceKey(oldest))
	}
	if due {
		b.put(keptBucket, paceKey(sample.Of), value)
	}
}

// crowded returns whose pace is to go so that there is room for one more, "" if there is.
func (p *paces) crowded() (oldest string) {
	if len(p.of) < lifecycle.PaceMost {
		return ""
	}
	var at time.Time
	for of, known := range p.of {
		if oldest == "" || known.At.Before(at) {
			oldest, at = of, known.At
		}
	}
	return oldest
}

// Pace implements lifecycle.Paces.
func (s *Store) Pace(ctx context.Context, of string) (lifecycle.Pace, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Pace{}, err
	}
	s.paces.mu.RLock()
	defer s.paces.mu.RUnlock()
	p := s.paces.of[of]
	if p == nil || s.options.Now().Sub(p.At) > lifecycle.PaceKept {
		return lifecycle.Pace{}, nil
	}
	return p.Pace, nil
}

// loadPaces reads what is stored of them. What is damaged is not known.
func (s *Store) loadPaces(tx *bolt.Tx) {
	s.paces.of = make(map[string]*storedPace)
	prefix := paceKey("")
	cursor := tx.Bucket(keptBucket).Cursor()
	for key, stored := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, stored = cursor.Next() {
		value, err := unseal(s.journal.strict, keptBucket, key, stored)
		if err != nil {
			_ = s.damaged("", "how fast work goes", err)
		} else if p, ok := parsePace(value); ok {
			s.paces.of[string(key[len(prefix):])] = &storedPace{Pace: p, stored: p.At}
		}
	}
}

func appendPace(dst []byte, p lifecycle.Pace) []byte {
	for _, n := range []float64{p.Count, p.Took, p.Busy} {
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(n))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(nanos(p.At)))
}

func parsePace(value []byte) (p lifecycle.Pace, ok bool) {
	if len(value) != 32 {
		return p, false
	}
	for i, n := range []*float64{&p.Count, &p.Took, &p.Busy} {
		*n = math.Float64frombits(binary.BigEndian.Uint64(value[8*i:]))
		if math.IsNaN(*n) || math.IsInf(*n, 0) || *n < 0 {
			return lifecycle.Pace{}, false
		}
	}
	p.At = time.Unix(0, int64(binary.BigEndian.Uint64(value[24:]))).UTC()
	return p, true
}
