package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/lifecycle"
)

// feed is where a feed stands, with what is not durable yet. The writer keeps it from batch to
// batch.
type feed struct {
	key    string // of the channel
	prefix []byte
	top    uint64 // offset of the newest event, 0 if there never was one
	oldest uint64 // offset of the oldest that is kept; top+1 if none is
	begin  uint64 // offset behind which it began, if that is noted: all that it ever had is there
	span   int64  // end of the span of time that is noted in aging
}

// maxFeeds bounds how many feeds the writer remembers.
const maxFeeds = 64 << 10

func (b *batch) feed(c lifecycle.Channel) *feed {
	if f := b.s.feeds[c]; f != nil {
		return f
	}
	f := &feed{key: c.Key(), prefix: feedPrefix(c)}
	cursor := b.bucket(feedsBucket).Cursor()
	top, value, ok := newest(cursor, f.prefix)
	f.top, f.oldest = top, top+1
	if ok && len(value) > 0 {
		key, value := cursor.Seek(f.prefix)
		f.oldest = offsetOf(key)
		if isBegin(value) {
			f.begin = f.oldest
			f.oldest++
		}
	}
	b.s.feeds[c] = f
	return f
}

// newest returns the last entry whose key is prefix and an offset.
func newest(cursor *bolt.Cursor, prefix []byte) (offset uint64, value []byte, ok bool) {
	var buf [600]byte
	end := append(append(buf[:0], prefix...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	key, value := seekBefore(cursor, end)
	if !within(key, prefix) {
		return 0, nil, false
	}
	return offsetOf(key), value, true
}

// within reports whether key is prefix and an offset.
func within(key, prefix []byte) bool {
	return len(key) == len(prefix)+8 && bytes.HasPrefix(key, prefix)
}

func offsetOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// append adds an event, which is at a position of the log, to a feed.
func (b *batch) append(c lifecycle.Channel, at uint64, event *lifecycle.Event) {
	f := b.feed(c)
	switch {
	case f.top == 0:
		b.open(f)
	case f.oldest > f.top: // all that is there keeps the top, which moves on
		b.delete(feedsBucket, b.offsetKey(f, f.top))
	}
	f.top++
	key := b.offsetKey(f, f.top)
	b.place = appendPlace(b.place[:0], key, at)
	b.put(feedsBucket, key, b.place)
	if now := nanos(b.now); now >= f.span {
		f.span = b.s.spanEnd(now)
		b.put(agingBucket, agingKey(f.span, c), nil)
	}
	keep := uint64(b.s.options.FeedHistory)
	if f.top-f.oldest+1 > keep+chunkOf(keep) {
		b.cut(f)
		for ; f.top-f.oldest+1 > keep; f.oldest++ {
			b.unref(b.at(f, f.oldest))
			b.delete(feedsBucket, b.offsetKey(f, f.oldest))
		}
	}
	b.notifications = append(b.notifications, n{f.key, message(f.top, event, false)})
}

// floorKey is where in keptBucket the highest offset is that a feed had which is gone.
var floorKey = []byte("\x00feeds")

// floor returns what stands there. If that is damaged the batch fails, because offsets would come
// twice.
func (b *batch) floor() uint64 {
	value, err := b.read(keptBucket, floorKey)
	if err != nil {
		b.err = errors.Join(b.err, b.s.damaged("", "the highest offset of the feeds that are gone", err))
	}
	return positionOf(value)
}

// beginValue, of one byte, stands in feeds in the place of the event before the first one of a feed
// that began behind others.
var beginValue = []byte{1}

func isBegin(value []byte) bool { return len(value) == len(beginValue) }

// open lets a feed that has nothing begin behind all offsets that feeds had which are gone, so that
// none comes twice.
func (b *batch) open(f *feed) {
	floor := b.floor()
	if floor == 0 {
		return
	}
	f.top, f.oldest, f.begin = floor, floor+1, floor
	b.put(feedsBucket, b.offsetKey(f, floor), beginValue)
}

// cut notes that the beginning of a feed is about to go.
func (b *batch) cut(f *feed) {
	if f.begin > 0 {
		b.delete(feedsBucket, b.offsetKey(f, f.begin))
		f.begin = 0
	}
}

// drop forgets a feed that has no event, unless somebody follows it: who does would take what comes
// behind a gap for a loss. It reports whether it is forgotten.
func (b *batch) drop(c lifecycle.Channel, f *feed) bool {
	if b.s.followed(f.key) {
		return false
	}
	if f.top > b.floor() {
		b.put(keptBucket, floorKey, position(nil, f.top))
	}
	if f.top > 0 {
		b.delete(feedsBucket, b.offsetKey(f, f.top))
	}
	delete(b.s.feeds, c)
	return true
}

// followed reports whether somebody follows a feed.
func (s *Store) followed(key string) bool {
	s.watched.mu.Lock()
	defer s.watched.mu.Unlock()
	return s.watched.feeds[key]
}

// watched are the feeds that somebody follows.
type watched struct {
	mu    sync.Mutex
	feeds map[string]bool
}

func (w *watched) set(key string, follows bool) {
	if c, err := lifecycle.ParseKey(key); err != nil || !c.Feed() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !follows {
		delete(w.feeds, key)
		return
	}
	if w.feeds == nil {
		w.feeds = make(map[string]bool)
	}
	w.feeds[key] = true
}

func (b *batch) offsetKey(f *feed, offset uint64) []byte {
	b.key = binary.BigEndian.AppendUint64(append(b.key[:0], f.prefix...), offset)
	return b.key
}

// at returns the position of a feed's event, 0 if it is gone.
func (b *batch) at(f *feed, offset uint64) uint64 {
	key := b.offsetKey(f, offset)
	// All were looked at when the store was opened.
	at, _ := b.s.journal.place(key, b.bucket(feedsBucket).Get(key))
	return at
}

// appendPlace appends the value of an entry of feeds: the position of its event, and a sum.
func appendPlace(dst, key []byte, at uint64) []byte {
	from := len(dst)
	dst = position(dst, at)
	return binary.BigEndian.AppendUint32(dst, sealSum(marks[&feedsBucket[0]], key, dst[from:]))
}

// place reads the value of an entry of feeds: 0 if it only keeps the top, or a beginning. Up to
// version 5 there was no sum.
func (j *journal) place(key, value []byte) (uint64, error) {
	switch {
	case len(value) == 0, bytes.Equal(value, beginValue):
		return 0, nil
	case len(value) == 12 && binary.BigEndian.Uint32(value[8:]) == sealSum(marks[&feedsBucket[0]], key, value[:8]):
		return positionOf(value[:8]), nil
	case len(value) == 8 && !j.strict:
		return positionOf(value), nil
	default:
		return 0, errSum
	}
}

func positionOf(value []byte) uint64 {
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

// chunkOf is how far a history may grow beyond its bound before it is cut.
func chunkOf(keep uint64) uint64 { return min(keep/8, 256) }

// spanEnd returns the end of the span of time that now is in. Spans are what the
// age of feeds is looked at in.
func (s *Store) spanEnd(now int64) int64 {
	span := int64(min(max(s.options.FeedRetention/24, time.Millisecond), time.Hour))
	return (now/span + 1) * span
}

// age drops what is too old from feeds, about limit events of them, and reports
// whether it is through.
func (b *batch) age(limit int) (through bool) {
	cutoff := nanos(b.now.Add(-b.s.options.FeedRetention))
	for limit > 0 {
		key, _ := b.bucket(agingBucket).Cursor().First()
		if key == nil || int64(binary.BigEndian.Uint64(key)) > cutoff {
			return true
		}
		key = bytes.Clone(key)
		c, err := lifecycle.ParseKey(string(key[8:]))
		if err != nil { // nobody can read it
			b.delete(agingBucket, key)
			continue
		}
		f := b.feed(c)
		for f.oldest <= f.top && limit > 0 {
			at := b.at(f, f.oldest)
			b.key = position(b.key[:0], at)
			value, err := b.read(eventsBucket, b.key)
			if err != nil {
				_ = b.s.damaged("", "an event", err) // it goes with those around it
			}
			if len(value) >= eventHeader && eventTime(value) > cutoff {
				break
			}
			b.cut(f)
			b.unref(at)
			if f.oldest == f.top {
				b.put(feedsBucket, b.offsetKey(f, f.top), nil)
			} else {
				b.delete(feedsBucket, b.offsetKey(f, f.oldest))
			}
			f.oldest++
			limit--
		}
		if limit > 0 {
			b.delete(agingBucket, key)
			limit--
			if f.oldest > f.top && !b.drop(c, f) {
				f.span = b.s.spanEnd(nanos(b.now)) // looked at again then
				b.put(agingBucket, agingKey(f.span, c), nil)
			}
		}
	}
	return false
}

// leftovers goes on with a scan of all feeds, once, about limit of them, for those that are
// empty and that age does not come to: they were emptied by a program before, which kept them for
// ever. It reports whether it is through.
func (b *batch) leftovers(limit int) (through bool) {
	from, done := b.s.scanned, b.s.scannedAll
	if done {
		return true
	}
	for ; limit > 0; limit-- {
		key, _ := b.bucket(feedsBucket).Cursor().Seek(from)
		if len(key) < 8 {
			b.noteScanned(nil, true)
			return true
		}
		prefix := bytes.Clone(key[:len(key)-8])
		from = append(bytes.Clone(prefix), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		c, err := lifecycle.ParseKey(string(prefix[:len(prefix)-1]))
		if err != nil {
			continue
		}
		if f := b.feed(c); f.oldest > f.top && !b.drop(c, f) {
			f.span = b.s.spanEnd(nanos(b.now))
			b.put(agingBucket, agingKey(f.span, c), nil)
		}
	}
	b.noteScanned(from, false)
	return false
}

// noteScanned remembers how far leftovers is, if this batch becomes durable.
func (b *batch) noteScanned(from []byte, all bool) {
	was, wasAll := b.s.scanned, b.s.scannedAll
	b.s.scanned, b.s.scannedAll = from, all
	b.undo = append(b.undo, func() { b.s.scanned, b.s.scannedAll = was, wasAll })
}
