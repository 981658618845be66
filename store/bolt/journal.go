package bolt

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/store/bolt/wal"
)

// journal makes batches durable. What they change is in one transaction of bbolt that stays open
// over many of them, and each is written to the log, with one write and one sync, while the next
// one is applied. When the log is full, or after a time without a change, the transaction is
// committed, which is a checkpoint: a page that was changed a hundred times is written once. A
// process that begins finds in the log what the file does not have yet, and changes that again.
//
// The log is not needed to make a batch durable, only to do so fast: what it cannot take is
// committed to the file at once. And it is kept in memory as it is on disk, so that a batch that
// fails can be taken back: its transaction ends, and a new one gets all the others.
type journal struct {
	db       *bolt.DB
	wal      *wal.Log
	capacity int // of the log, in bytes
	most     int // bound of the file, 0 if there is none

	// mu is held by the writer while it changes tx, and while it commits it or takes it back. Who
	// reads under it may see batches that are not durable yet, the newest of them the last, and
	// waits for its outcome afterwards: see view.
	mu     sync.RWMutex
	tx     *bolt.Tx // nil: closed, or the file cannot be used
	tables map[*byte]table
	newest *outcome
	tight  bool // the file is so full that each batch is to show whether it fits
	grown  int  // bytes that tx has and the file has not

	// The frames that the log has since the checkpoint, that in flight, and that of the running
	// batch.
	image  []byte
	sealed int  // how much of image is frames that are complete
	whole  bool // image does not have all of the running batch, which goes to the file
	broken bool // the log or the file failed; the log is not used before the next checkpoint

	closing bool // the next checkpoint is the last one
	strict  bool // whatever is sealed has been from the beginning, see unseal

	resident atomic.Int64 // bytes of bodies that were read since pages were let go

	// While a batch is in flight these are the flusher's.
	number uint64 // of the last batch that is durable
	logged int    // how much of image is in the log
}

// outcome is what becomes of a batch.
type outcome struct {
	known chan struct{} // closed when the batch is durable, or has been taken back
	lost  bool          // it was taken back; set before
}

// durable is the outcome of everything that was in a transaction from its beginning.
var durable = func() *outcome {
	o := &outcome{known: make(chan struct{})}
	close(o.known)
	return o
}()

// table is a bucket of the open transaction, and what stands for it in the log.
type table struct {
	*bolt.Bucket
	mark   byte
	sealed bool
}

// logCapacity is how large the log becomes. The larger, the more rarely a page of the file is
// written that changes often, and the more is read and changed again at start after a crash, and
// held in memory under load, where bbolt's search and the collection of garbage take longer then:
// twice as large is slower already. In a bounded file it is a 64th of the bound at most, see
// journal.tight.
const logCapacity = 2 << 20

// spareImage is how much memory for the log is kept when there is nothing in it.
const spareImage = 64 << 10

var errFile = errors.New("the file cannot be used")

// openJournal continues where the file and the log beside it end. If the file's first pages were
// damaged, they are written anew.
func openJournal(db *bolt.DB, path string, first firstPages, o Options) (*journal, error) {
	j := &journal{db: db, capacity: logCapacity, most: o.MaxSize}
	if o.MaxSize > 0 {
		j.capacity = min(j.capacity, o.MaxSize/64)
	}
	var file binding
	err := db.View(func(tx *bolt.Tx) (err error) {
		file, err = readBinding(tx)
		j.strict = tx.Bucket(metaBucket).Get(sealedKey) != nil
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := j.openLog(walPath(path), file); err != nil {
		err = fmt.Errorf("log %s: %w", walPath(path), advised(err))
		if first.lost {
			err = fmt.Errorf("%w (%w)", first.older(), err)
		}
		return nil, err
	}
	if o.NoSync {
		j.wal.File = noSync{j.wal.File}
	}
	if file.state == stateClosed {
		if err := j.bind(); err != nil {
			return nil, errors.Join(err, j.wal.File.Close())
		}
	}
	if first.whole() != nil { // one after the other, if that was not done
		mirror(db)
		mirror(db)
		if err := syncFile(db); err != nil {
			return nil, errors.Join(err, j.wal.File.Close())
		}
	}
	j.logged, j.newest = len(j.image), durable
	if err := j.begin(); err != nil {
		return nil, errors.Join(err, j.wal.File.Close())
	}
	return j, nil
}

// openLog opens the log of a file, which judge has found to belong to it, and makes it if there is
// none that is needed.
func (j *journal) openLog(path string, file binding) (err error) {
	if file.state != stateClosed {
		if j.wal, j.image, j.number, err = wal.Open(path, file.batch); err != nil || j.wal != nil {
			return err
		}
	}
	h := wal.Header{Generation: file.generation, Next: wal.NewGeneration(), Base: file.batch, Sealed: file.batch}
	copy(h.Identity[:], file.identity)
	j.number = file.batch
	j.wal, err = wal.Create(path, h)
	return err
}

// bind has the file say that there is a log now.
func (j *journal) bind() error {
	next := j.wal.Next
	if err := update(j.db, func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		return errors.Join(meta.Put(generationKey, position(nil, next)), meta.Put(stateKey, []byte{stateOpen}))
	}); err != nil {
		return err
	}
	j.wal.Begin(next, j.number)
	return nil
}

type noSync struct{ wal.File }

func (noSync) Sync() error { return nil }

// begin opens a transaction that has what is in the log. Nothing is in flight.
func (j *journal) begin() (err error) {
	tx, err := j.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	defer recoverDamage(&err)
	tables := make(map[*byte]table, len(tableNames))
	for i, name := range tableNames {
		b := tx.Bucket(name)
		if b == nil && versionOf(tx) < indexedSince[&name[0]] {
			continue // who only looks at a file of an older version changes nothing
		}
		if b == nil {
			return fmt.Errorf("the store is damaged: no bucket %s", name)
		}
		b.FillPercent = fillPercent(name)
		tables[&name[0]] = table{b, byte(i), isSealed[i]}
	}
	// Readers find all buckets opened, this one too, and change nothing in the transaction.
	has := positionOf(tx.Bucket(metaBucket).Get(batchKey))
	for rest := j.image[:j.logged]; len(rest) > 0; {
		frame, number := j.wal.Cut(rest)
		if frame == nil {
			return errTorn
		}
		if number > has {
			if err := replay(tables, frame[wal.FrameHeader:]); err != nil {
				return err
			}
		}
		rest = rest[len(frame):]
	}
	j.tx, j.tables, j.grown, j.sealed = tx, tables, j.logged, j.logged
	j.tight = j.most > 0 && j.room() < j.most/4
	return nil
}

// replay makes the changes of a frame. It keeps slices of it.
func replay(tables map[*byte]table, held []byte) error {
	for e, err := range wal.Entries(held) {
		if err != nil {
			return err
		}
		if int(e.Table) >= len(tableNames) {
			return wal.ErrEntry
		}
		t := tables[&tableNames[e.Table][0]]
		if t.Bucket == nil { // of a layout before it
			return wal.ErrEntry
		}
		switch e.Kind {
		case wal.Put:
			err = t.Put(e.Key, e.Value)
		case wal.Delete:
			err = t.Delete(e.Key)
		case wal.Sequence:
			err = t.SetSequence(e.Number)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// room is how much a bounded file can still take, in bytes.
func (j *journal) room() int {
	return max(j.most-j.db.AllocSize-int(j.tx.Size()), 0) + j.db.Stats().FreeAlloc
}

// view runs f on what is durable: if f may have seen more, view waits until that is durable, and if
// it was taken back instead, f runs again. Many may at once.
func (j *journal) view(f func(*bolt.Tx) error) error {
	for {
		seen, err := j.snapshot(f)
		if <-seen.known; !seen.lost {
			return err
		}
	}
}

// snapshot runs f on what has been applied, and returns on whose outcome it rests what f saw.
func (j *journal) snapshot(f func(*bolt.Tx) error) (*outcome, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.tx == nil {
		return durable, unavailable(errFile)
	}
	return j.newest, f(j.tx)
}

// prepare makes ready for the next batch.
func (j *journal) prepare() (*outcome, error) {
	o := &outcome{known: make(chan struct{})}
	if j.tx == nil {
		if err := j.begin(); err != nil {
			return o, fmt.Errorf("%w: %w", errFile, err)
		}
	}
	j.newest = o
	j.image = append(j.image[:j.sealed], make([]byte, wal.FrameHeader)...)
	j.whole = j.tight || j.broken
	return o, nil
}

// seal completes the frame of the running batch, which is in flight from then on.
func (j *journal) seal() []byte {
	frame := j.image[j.sealed:]
	j.wal.Seal(frame, j.number+1)
	j.sealed = len(j.image)
	return frame
}

// log makes the batch in flight durable. If it returns an error, that is still to be done: see
// refuse.
func (j *journal) log(frame []byte) error {
	if err := j.wal.Write(frame, int64(j.logged)); err != nil {
		return err
	}
	j.number++
	j.logged += len(frame)
	return nil
}

// acknowledge notes in the log how far it is whole. It is called by whoever has the log.
func (j *journal) acknowledge() {
	if j.wal.Sealed != j.number {
		j.wal.Acknowledge(j.number)
	}
}

// refuse ends the use of the log after it has not taken a frame.
func (j *journal) refuse() {
	j.wal.Void(int64(j.logged))
	j.broken = true // it may be there all the same, so that no other may follow it
}

// checkpoint commits the transaction, with everything up to a batch, and begins the log anew. If it
// returns an error, what is in the log is still there, but not in a transaction: see takeBack. The
// file may have it all the same, when only the last sync has failed: a frame that is logged after
// that would have a number that counts as old.
func (j *journal) checkpoint(number uint64) (err error) {
	defer recoverDamage(&err)
	j.broken = true
	meta := j.tx.Bucket(metaBucket)
	if err := meta.Put(batchKey, position(nil, number)); err != nil {
		return err
	}
	if j.closing {
		if err := meta.Put(stateKey, []byte{stateClosed}); err != nil {
			return err
		}
	}
	// A log that does not learn of another generation keeps the one that it has.
	next := wal.NewGeneration()
	if j.wal.Announce(next) != nil {
		next = j.wal.Generation
	}
	if err := meta.Put(generationKey, position(nil, next)); err != nil {
		return err
	}
	if err := j.tx.Commit(); err != nil {
		return err
	}
	j.wal.Begin(next, number)
	j.number, j.logged, j.broken = number, 0, false
	j.tx, j.tables = nil, nil
	mirror(j.db)
	if err := j.begin(); err != nil {
		j.tx = nil // for the next batch to try
	}
	return nil
}

// takeBack undoes what is not durable.
func (j *journal) takeBack() {
	if j.tx != nil {
		_ = j.tx.Rollback()
		j.tx, j.tables = nil, nil
	}
	j.newest = durable
	_ = j.begin() // or the next batch tries
}

// emptyLog makes a checkpoint if there is something in the log, and lets go of memory.
func (j *journal) emptyLog() error {
	if j.logged == 0 {
		return nil
	}
	if j.tx == nil {
		return errFile
	}
	if err := j.checkpoint(j.number); err != nil {
		j.takeBack()
		return err
	}
	if cap(j.image) > spareImage {
		j.image = nil
	}
	return nil
}

// close empties the log into the file and removes it. If the file cannot take it, nothing is lost:
// the log stays.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := errFile
	if j.tx != nil {
		j.closing = true
		err = j.checkpoint(j.number)
	}
	j.leave()
	if err == nil {
		err = syncFile(j.db)
	}
	if err == nil {
		err = os.Remove(j.wal.Path)
	}
	return err
}

// leave ends without a checkpoint.
func (j *journal) leave() {
	if j.tx != nil {
		_ = j.tx.Rollback()
		j.tx, j.tables = nil, nil
	}
	_ = j.wal.File.Close()
}

// takes reports whether the log can take n more bytes. If it can not, the batch goes to the file.
func (j *journal) takes(n int) bool {
	j.whole = j.whole || len(j.image)+n > j.capacity
	return !j.whole
}

// put changes a value. The slices are the caller's again afterwards.
func (j *journal) put(bucket, key, value []byte) error {
	t := j.tables[&bucket[0]]
	size := len(value)
	if t.sealed {
		size += sealSize
	}
	j.grown += len(key) + size
	var dst []byte
	logged := j.takes(wal.EntryHeader + len(key) + size)
	if logged {
		dst = wal.AppendPut(j.image, t.mark, key, size)
	} else {
		dst = make([]byte, 0, size)
	}
	if t.sealed {
		dst = appendSeal(dst, t.mark, key, value)
	}
	dst = append(dst, value...)
	if logged {
		j.image = dst
	}
	return t.Put(key, dst[len(dst)-size:len(dst):len(dst)]) // bbolt holds it until the checkpoint
}

func (j *journal) delete(bucket, key []byte) error {
	t := j.tables[&bucket[0]]
	if j.takes(wal.EntryHeader + len(key)) {
		j.image = wal.AppendDelete(j.image, t.mark, key)
	}
	return t.Delete(key)
}

func (j *journal) sequence(bucket []byte) (uint64, error) {
	t := j.tables[&bucket[0]]
	n, err := t.NextSequence()
	if err == nil && j.takes(wal.EntryHeader) {
		j.image = wal.AppendSequence(j.image, t.mark, n)
	}
	return n, err
}

// raise sets the number that was given last in a bucket.
func (j *journal) raise(bucket []byte, n uint64) error {
	t := j.tables[&bucket[0]]
	err := t.SetSequence(n)
	if err == nil && j.takes(wal.EntryHeader) {
		j.image = wal.AppendSequence(j.image, t.mark, n)
	}
	return err
}
