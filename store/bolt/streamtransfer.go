package bolt

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
)

// exportedBytes is how many bytes of a stream one line of an export has.
const exportedBytes = 64 << 10

// checkStream reads all bytes that are a stream's own.
func (s *Store) checkStream(r *streamRecord, tell func(from uint64, p []byte) error) error {
	p := make([]byte, exportedBytes)
	for from := r.base(); from < r.Tail; {
		n := min(uint64(len(p)), r.Tail-from)
		if err := readOwn(s.journal.tx, r, p[:n], from); err != nil {
			return s.streamDamaged(r.name, err)
		}
		if err := tell(from, p[:n]); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// errSource: a fork cannot be without its source.
var errSource = errors.New("what it was forked from is damaged")

// each calls f with every stream that can be read, but for its bytes; lost, if it is not nil, with
// what is wrong with others.
func (e *exporter) each(f func(*streamRecord) error, lost func(error) error) error {
	bucket := e.tx.Bucket(streamsBucket)
	if bucket == nil {
		return nil // of a layout before them
	}
	return bucket.ForEach(func(key, _ []byte) error {
		name, ok := stream.ParseKey(string(key))
		var r *streamRecord
		err := e.s.damaged("", "the name of a stream", errSum)
		if ok {
			r, err = e.s.streamAt(e.tx, name)
		}
		switch {
		case err == nil:
			return f(r)
		case lost != nil:
			return lost(err)
		}
		return nil
	})
}

// brokenStreams finds those that cannot be exported: of which a byte is damaged, or the request,
// and those that were forked from such. A stream never has other bytes at an offset than it had.
func (e *exporter) brokenStreams() error {
	e.broken, e.forks = make(map[stream.Name]bool), make(map[stream.Name]int)
	if err := e.each(func(r *streamRecord) error {
		err := e.s.checkStream(r, func(uint64, []byte) error { return nil })
		if r.name.Output() && err == nil {
			of, unread := e.s.readRecord(e.tx, lifecycle.ParseRef(r.name.Path))
			if unread == nil && !of.HasOutput {
				unread = errGone
			}
			if unread != nil {
				err = e.s.streamDamaged(r.name, unread)
			}
		}
		if err == nil {
			return nil
		}
		e.broken[r.name] = true
		return e.lost(err)
	}, e.lost); err != nil {
		return err
	}
	for found := true; found; {
		found = false
		if err := e.each(func(r *streamRecord) error {
			if r.Fork == nil || e.broken[r.name] {
				return nil
			}
			if source, _ := e.s.streamAt(e.tx, r.Fork.From); source != nil && !e.broken[r.Fork.From] {
				return nil
			}
			found, e.broken[r.name] = true, true
			return e.lost(e.s.streamDamaged(r.name, errSource))
		}, nil); err != nil {
			return err
		}
	}
	return e.countForks()
}

// countForks counts the forks that are exported, and leaves out what was kept for others.
func (e *exporter) countForks() error {
	if err := e.each(func(r *streamRecord) error {
		if r.Fork != nil && !e.broken[r.name] {
			e.forks[r.Fork.From]++
		}
		return nil
	}, nil); err != nil {
		return err
	}
	for found := true; found; {
		found = false
		if err := e.each(func(r *streamRecord) error {
			if !r.Deleted || e.forks[r.name] > 0 || e.broken[r.name] {
				return nil
			}
			if r.Fork != nil {
				e.forks[r.Fork.From]--
			}
			found, e.broken[r.name] = true, true
			return nil
		}, nil); err != nil {
			return err
		}
	}
	return nil
}

// hasOutput reports whether the output of a request is exported.
func (e *exporter) hasOutput(r *record) (bool, error) {
	n := lifecycle.OutputName(r.Ref())
	if !r.HasOutput || e.broken[n] {
		return false, nil
	}
	switch output, err := e.s.streamAt(e.tx, n); {
	case err != nil: // which was told
		return false, nil //nolint:nilerr // in brokenStreams
	case output == nil:
		return false, e.lost(e.s.streamDamaged(n, errGone))
	}
	return true, nil
}

// streams writes all that are not broken.
func (e *exporter) streams() error {
	return e.each(func(r *streamRecord) error {
		if e.broken[r.name] {
			return nil
		}
		r.Forks = e.forks[r.name]
		return e.stream(r)
	}, nil)
}

func (e *exporter) stream(r *streamRecord) error {
	if err := e.emit(transfer.Line{Kind: transfer.Stream, Channel: r.name.Key(), Stream: (*transfer.StreamRecord)(&r.Stream)}); err != nil {
		return err
	}
	return e.s.checkStream(r, func(from uint64, p []byte) error {
		return e.emit(transfer.Line{Kind: transfer.Bytes, Offset: from, Data: bytes.Clone(p)})
	})
}

// addStream takes in a stream without its bytes. Its request, if it is the output of one, was taken
// in before.
func (i *importer) addStream(l *transfer.Line) error {
	name, ok := stream.ParseKey(l.Channel)
	if !ok || l.Stream == nil {
		return errLine
	}
	r := &streamRecord{name: name, Stream: stream.Stream(*l.Stream)}
	r.last = r.base()
	i.stream, i.end = r, r.base()
	return i.do(512, func(b *batch) error {
		r.serial = b.sequence(streamsBucket)
		if due := r.Due(); !due.IsZero() && !r.Deleted {
			r.due = dueAt(due)
			b.put(streamDueBucket, streamDueKey(r.due, name), nil)
		}
		b.saveStream(r)
		owner := name.Owner
		if name.Output() {
			of, err := b.findRequest(lifecycle.ParseRef(name.Path))
			if err != nil || !of.HasOutput {
				return fmt.Errorf("%s is of a request that has none: %w", streamWhat(name), errors.Join(errLine, err))
			}
			owner = of.Owner
		}
		b.use(owner, lifecycle.Usage{}, lifecycle.Usage{Bytes: r.size()})
		return nil
	})
}

// addBytes takes in bytes of the stream before.
func (i *importer) addBytes(l *transfer.Line) error {
	r, from, data := i.stream, l.Offset, l.Data
	if r == nil || from != i.end || from+uint64(len(data)) > r.Tail {
		return errLine
	}
	i.end = from + uint64(len(data))
	return i.do(len(data), func(b *batch) error {
		b.putBytes(r, from, data)
		b.saveStream(r)
		return nil
	})
}
