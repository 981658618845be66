package bolt

import "github.com/hark-push/hark/stream"

// streams holds the index of what expires, the counts of forks and the marks of requests against
// what is stored of streams.
func (c *checker) streams() error {
	if c.tx.Bucket(streamsBucket) == nil {
		return nil // of a layout before them
	}
	var last uint64
	var due, damaged, outputs int
	serials := make(map[uint64]bool)
	forks, counted := make(map[stream.Name]int), make(map[stream.Name]int)
	if err := c.tx.Bucket(streamsBucket).ForEach(func(key, stored []byte) error {
		name, ok := stream.ParseKey(string(key))
		if !ok {
			return damagedIndex("there is no stream %q", key)
		}
		if name.Output() {
			outputs++
		}
		value, err := unseal(true, streamsBucket, key, stored)
		var r *streamRecord
		if err == nil {
			r, err = decodeStream(name, value)
		}
		if err != nil {
			damaged++
			return nil //nolint:nilerr // that is told when it is read
		}
		if serials[r.serial] {
			return damagedIndex("the stream %q has the bytes of another one", name.Path)
		}
		serials[r.serial] = true
		last = max(last, r.serial)
		if r.due != 0 {
			due++
			if !c.has(streamDueBucket, streamDueKey(r.due, name)) {
				return damagedIndex("the stream %q is not among those that expire", name.Path)
			}
		} else if at := r.Due(); !at.IsZero() && !r.Deleted {
			return damagedIndex("the stream %q never expires", name.Path)
		}
		if r.Fork != nil {
			forks[r.Fork.From]++
		}
		if r.Forks != 0 {
			counted[name] = r.Forks
		}
		return nil
	}); err != nil {
		return err
	}
	if c.tx.Bucket(streamsBucket).Sequence() < last {
		return damagedIndex("numbers of streams would be given twice")
	}
	if n := c.count(streamDueBucket); n < due || n > due+damaged {
		return damagedIndex("%d streams expire, and the index has %d", due, n)
	}
	if c.damaged == 0 && outputs != c.outputs {
		return damagedIndex("%d requests have an output, and there are %d", c.outputs, outputs)
	}
	if damaged > 0 {
		return nil // of whom nobody knows what they were forked from
	}
	for name, n := range forks {
		if counted[name] != n {
			return damagedIndex("the stream %q was forked %d times, and counts %d", name.Path, n, counted[name])
		}
		delete(counted, name)
	}
	for name, n := range counted {
		return damagedIndex("the stream %q counts %d forks, and has none", name.Path, n)
	}
	return nil
}
